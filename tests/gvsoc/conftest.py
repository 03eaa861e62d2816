"""The installation of GVSoC that tests here need: without one they skip, and a line at the end says how many did."""

from __future__ import annotations

import os

import pytest
from tdco_sim import gvsoc

MISSING = "GVSoC is not installed: TDCO_GVSOC is not set"


@pytest.fixture(scope="session")
def installed() -> gvsoc.Gvsoc:
    if not gvsoc.is_wanted() and os.environ.get("TDCO_REQUIRE_GVSOC") != "1":
        pytest.skip(MISSING)
    return gvsoc.find()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if MISSING in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {MISSING}; TDCO_REQUIRE_GVSOC=1 makes them fail")
