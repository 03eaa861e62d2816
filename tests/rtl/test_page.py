"""docs/engine.md: its register map is current, and the testbench it prints drives the Verilog that tdco writes."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import redmule.verilog
from tdco_sim.verilator import MAKE_VARIABLES, verilator
from tdco_spec import get_config
from tdco_spec.markdown import with_register_map

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def test_register_map_is_current() -> None:
    page = PAGE.read_text()
    assert with_register_map(page) == page, "run python -m tdco_spec.markdown docs/engine.md"


@pytest.mark.slow
def test_printed_testbench_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```verilog\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "tb.v").write_text(example)
    (tmp_path / "redmule.v").write_text(redmule.verilog.emit(get_config("rm_8x4")))
    options = ["--binary", "--timing", "-Wno-lint", "-Wno-fatal", "--top-module", "tb", "--Mdir", "build"]
    env = {**os.environ, "MAKEFLAGS": f"{MAKE_VARIABLES} OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"}
    subprocess.run(
        [*verilator(), *options, "tb.v", "redmule.v"], cwd=tmp_path, env=env, check=True, capture_output=True
    )
    said = subprocess.run([tmp_path / "build" / "Vtb"], capture_output=True, text=True, check=True).stdout
    assert "Z = 3c004000 42004400" in said
