"""What a service does before it becomes one: it reads its settings and looks at what they name.

With `--check` that is all: it says whether the service could start, in the very lines that would end its start, one for
everything that is wrong. It touches nothing, so it may be asked beside a running service. For that to be quick, the
modules of the service itself are imported only afterwards.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.settings import DOTENV, Settings, demand_whole_dotenv, load_settings
from vecsec_chassis.telemetry import logs, stray_lines

log = structlog.get_logger()

EXIT_CANNOT_START = 78
"""EX_CONFIG of sysexits.h: a supervisor need not try again until a setting is changed."""

Check = Callable[[], object]
"""Raises ConfigurationError for what would end the start."""


def check_if_asked(service: str, settings_type: type[Settings], checks: Callable[[Settings], Iterable[Check]]) -> None:
    """Return if the service is to be started; with `--check`, say whether it could be, and exit."""
    parser = argparse.ArgumentParser(prog=f"vecsec_{service}", description="Told everything by its environment.")
    parser.add_argument("--check", action="store_true", help="say whether it could start, and what is wrong; then end")
    is_check = parser.parse_args().check
    logs.configure(service, "critical" if is_check else "info")
    with exit_if_it_cannot_start(service):
        demand_whole_dotenv(Path(DOTENV))
        if is_check:
            _check(service, checks(load_settings(settings_type)))


def _check(service: str, checks: Iterable[Check]) -> None:
    """Make all checks, complain of all that fail, and exit."""
    is_well = True
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            is_well = False
            _report_error(service, error)
    sys.exit(0 if is_well else EXIT_CANNOT_START)


@contextmanager
def exit_if_it_cannot_start(service: str) -> Iterator[None]:
    """Around what may end the start: it does so with one line, and a status that a supervisor understands."""
    try:
        yield
    except ConfigurationError as error:
        _report_error(service, error)
        sys.exit(EXIT_CANNOT_START)


def _report_error(service: str, error: ConfigurationError) -> None:
    reason = " ".join(str(error).split())
    log.error("cannot start", reason=reason)
    stray_lines.write_for_people(f"vecsec {service}: {reason}")
