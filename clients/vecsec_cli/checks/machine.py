"""Python, packages, state directory, disk and clock."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.local import preflight
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import INSTALL_SERVICES

_COMFORTABLE_BYTES = 1 << 30
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
_TOLERATED_SKEW_SECONDS = 30.0
"""What the services tolerate in tokens."""


def check_machine(state: StateDirectory) -> Iterator[CheckResult]:
    """Everything that does not depend on the services."""
    yield _python()
    yield _packages()
    folder = _state_directory(state)
    yield folder
    if state.root.is_dir():
        yield _disk(state)
        yield _clock(state)


def _python() -> CheckResult:
    if problem := preflight.python_problem():
        return fail("python", problem, "make the environment anew with another Python")
    return ok("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> CheckResult:
    missing = preflight.missing_packages()
    if missing:
        return warn(
            "packages",
            f"the services are not installed here (missing: {', '.join(missing)})",
            f"fine for a client; to run the services: {INSTALL_SERVICES}",
        )
    return ok("packages", "client and services are installed")


def _state_directory(state: StateDirectory) -> CheckResult:
    name = "state directory"
    if not state.root.is_dir():
        return warn(name, f"{state.root} does not exist", "`vecsec up` makes it; --state-dir names another")
    if not os.access(state.root, os.W_OK | os.X_OK):
        return fail(name, f"{state.root} cannot be written to", f"give it to this user: chown -R $USER {state.root}")
    return ok(name, str(state.root))


def _disk(state: StateDirectory) -> CheckResult:
    free = shutil.disk_usage(state.root).free
    detail = f"{free / (1 << 30):,.1f} GiB free"
    if free < preflight.SMALLEST_FREE_BYTES:
        return fail("disk", f"{detail}: nothing can be stored, searches go on", "free some room; no restart is needed")
    if free < _COMFORTABLE_BYTES:
        return warn("disk", detail, "free some room before the next import")
    return ok("disk", detail)


def _clock(state: StateDirectory) -> CheckResult:
    """Tokens and grants carry times: a wrong clock refuses them all."""
    now = time.time()
    if now < _EARLIEST:
        return fail("clock", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d} is in the past", "set the clock, run NTP")
    try:
        with tempfile.TemporaryFile(dir=state.root) as probe:
            skew = os.fstat(probe.fileno()).st_mtime - now
    except OSError as error:
        return fail("clock", f"cannot write to {state.root}: {error.strerror}", "see the state directory")
    if abs(skew) > _TOLERATED_SKEW_SECONDS:
        return warn("clock", f"the file system's clock is {skew:+.0f} s off", "synchronise both machines by NTP")
    return ok("clock", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC")
