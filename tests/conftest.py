"""Skips tests whose part is missing on this machine, with the reason; in CI such a skip is a failure."""

import functools
import os

import hypothesis
import pytest
from faults.extent import DONE_TO_A_CELL
from support.parts import MISSING_PART
from support.waiting import PATIENCE_SECONDS

from vecsec_chassis import calls

# As in CI: on a busy machine, no example is too slow.
hypothesis.settings.register_profile(
    "patient", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def no_call_is_being_served() -> None:
    """A test that enters a call leaves it behind in the context that all tests share."""
    calls._current.set(None)


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks about violations waits until the index has all that was decided before, however long that takes."""
    monkeypatch.setattr("vecsec_policy.violations.indexer._PATIENCE_SECONDS", PATIENCE_SECONDS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from support.spread import ByFile

    return ByFile(config, log)


@functools.cache
def missing(marker: str) -> str | None:
    return MISSING_PART[marker]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers():
        reason = missing(marker.name) if marker.name in MISSING_PART else None
        if reason is not None and os.environ.get("CI"):
            pytest.fail(f"CI must have this part: {reason}", pytrace=False)
        elif reason is not None:
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was done to cells (tests/faults)."""
    rows = [
        str(value)
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for key, value in report.user_properties
        if key == DONE_TO_A_CELL
    ]
    if rows:
        terminalreporter.section("what was done to cells")
        for row in rows:
            terminalreporter.write_line(row)
