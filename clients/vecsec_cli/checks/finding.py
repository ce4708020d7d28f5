"""What a check says."""

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check."""

    check: str
    """What was looked at."""
    state: CheckState
    detail: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty where there is nothing to do."""


def ok(check: str, detail: str) -> CheckResult:
    """All is well."""
    return CheckResult(check, CheckState.OK, detail)


def warn(check: str, detail: str, remedy: str) -> CheckResult:
    """It works, but somebody should look at it."""
    return CheckResult(check, CheckState.WARN, detail, remedy)


def fail(check: str, detail: str, remedy: str) -> CheckResult:
    """It does not work."""
    return CheckResult(check, CheckState.FAIL, detail, remedy)
