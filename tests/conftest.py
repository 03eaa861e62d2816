"""Options of every test: ``--seed`` for the random ones."""

from collections.abc import Generator

import pytest

DEFAULT_SEED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=DEFAULT_SEED, help=f"of the random tests (default {DEFAULT_SEED})")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of random tests: {config.getoption('seed')}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What a random test draws its numbers from."""
    return int(request.config.getoption("seed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"run again with --seed {item.config.getoption('seed')}"))
    return report
