"""The steps of a leak response: each is tried, whatever became of those before it, and told with its time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import plain
from vecsec_client import VecSecError

_POLL_SECONDS = 0.2


class StepOutcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    FAILED = "FAILED"
    PLANNED = "would"
    """In a dry run."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do."""

    name: str
    intent: str
    """What it would do, for a dry run."""
    act: Callable[[], str]
    """Does it and says what it did. Raises CommandFailure, VecSecError or OSError if it could not."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of a step, and when."""

    name: str
    outcome: StepOutcome
    started: datetime
    seconds: float
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, object]:
        """As a document."""
        return {
            "step": self.name,
            "outcome": self.outcome.name,
            "started": self.started.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
            "remedy": self.remedy,
        }


def run_step(step: Step, *, dry_run: bool) -> StepReport:
    """Do a step; its failure is part of the report."""
    started, clock = datetime.now(UTC), time.monotonic()
    if dry_run:
        return StepReport(step.name, StepOutcome.PLANNED, started, 0.0, step.intent)
    outcome, detail, remedy = StepOutcome.FAILED, "", ""
    try:
        outcome, detail = StepOutcome.DONE, step.act()
    except CommandFailure as failure:
        outcome, detail, remedy = StepOutcome.FAILED, failure.message, failure.hint
    except VecSecError as error:
        outcome, detail = StepOutcome.FAILED, f"{error.code.name} {error.reason}: {error.message}"
    except OSError as error:
        outcome, detail = StepOutcome.FAILED, str(error)
    return StepReport(step.name, outcome, started, time.monotonic() - clock, detail, remedy)


def comes_true(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true within so many seconds; it is looked at again and again until then."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def print_steps(reports: Sequence[StepReport], next_steps: Sequence[str]) -> None:
    """A table of what was done, and what to do next."""
    rows = [
        (
            plain(each.outcome.value, "bold red" if each.outcome is StepOutcome.FAILED else "green"),
            each.name,
            f"{each.started:%H:%M:%S}",
            f"{each.seconds:.1f} s",
            f"{each.detail}\n{each.remedy}" if each.remedy else each.detail,
        )
        for each in reports
    ]
    output.print_table("", "step", "at (UTC)", "took", output.folded("what"), rows=rows, framed=False)
    output.say()
    for number, text in enumerate(next_steps, start=1):
        output.say(f"{number}. {text}")
