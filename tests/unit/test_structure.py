"""Rules of the repository that no tool checks: who may import whom, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"tdco_spec": "hw", "redmule": "hw", "tdco": "compiler", "tdco_sim": "sim"}
SOURCES = sorted(p for top in ("hw", "compiler", "sim", "sw", "tests") for p in (ROOT / top).rglob("*") if p.is_file())


def imports(file: Path) -> set[str]:
    """Top-level packages of ours that ``file`` imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names & set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_meet_only_in_the_cli(package: str) -> None:
    for file in (ROOT / PACKAGES[package] / package).rglob("*.py"):
        if "cli" not in file.parts:
            foreign = imports(file) - {package, "tdco_spec"}
            assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


def test_files_stay_readable() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in SOURCES
        if p.suffix in {".py", ".c", ".h", ".cpp", ".hpp"} and (n := len(p.read_text().splitlines())) > 600
    }
    assert not long, f"files over 600 lines want splitting: {long}"


def test_every_picture_of_the_benchmarks_is_drawn() -> None:
    """The page's two tables are two calls of bench, and the first alone draws."""
    steps = subprocess.run(
        ["make", "-n", "docs-pictures"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    tables = [line.split("tdco ")[1] for line in steps if "bench training" in line]
    assert tables == ["bench training --write docs", "bench training --others --write docs"]


def test_compiling_an_onnx_file_loads_nothing_that_it_does_not_need() -> None:
    code = "import sys, tdco.cli.compile; from tdco.ops import all_ops; all_ops(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"torch", "scipy", "sklearn", "amaranth", "plotly", "matplotlib"} & set(run.stdout.split())
    assert not slow, f"these take seconds to import: {slow}"
