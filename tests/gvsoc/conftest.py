"""The installation of GVSoC that tests here need: without one they skip, and a line at the end says how many did."""

from __future__ import annotations

import os

import pytest
from tdco_sim import gvsoc
from tdco_sim.errors import MissingPlatform
from tdco_sim.gvsoc import light

SKIPPED = "needs GVSoC"


def missing(why: MissingPlatform) -> None:
    """Ends a test: as failed with TDCO_REQUIRE_GVSOC=1, else as skipped."""
    if os.environ.get("TDCO_REQUIRE_GVSOC") == "1":
        pytest.fail(str(why))
    pytest.skip(f"{SKIPPED}: {why}")


@pytest.fixture(scope="session")
def installed() -> gvsoc.Gvsoc:
    """What TDCO_GVSOC names. An installation that is named and does not work is an error, not a skip."""
    if not gvsoc.is_wanted():
        missing(MissingPlatform("TDCO_GVSOC is not set"))
    return gvsoc.find()


@pytest.fixture(scope="session")
def with_light(installed: gvsoc.Gvsoc) -> gvsoc.Gvsoc:
    """The same, with the light RedMulE."""
    try:
        light.find(installed)
    except MissingPlatform as why:
        missing(why)
    return installed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if SKIPPED in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: GVSoC; TDCO_REQUIRE_GVSOC=1 makes them fail")
