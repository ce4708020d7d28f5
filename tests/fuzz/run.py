"""`make fuzz`: goes on for as long as told, says how far it is, and prints what it finds as a small test."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fuzz.case import Case, random_case
from fuzz.shrinking import shrunk
from fuzz.walls import differences
from vecsec_chassis.domain.errors import ConfigurationError

_SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Progress:
    """How far a run is."""

    seed: int
    """Of the next case."""
    verdicts: int = 0
    """On labels, each by all who decide."""
    policies: int = 0
    refused: int = 0
    """Policies that are outside of the accepted language, and so decide nothing."""

    def __str__(self) -> str:
        return f"{self.verdicts:,} verdicts by {self.policies:,} policies ({self.refused:,} refused), seed {self.seed}"


async def search(progress: Progress) -> Case | None:
    """Try the next case; the case if not all agree on it."""
    case = random_case(progress.seed)
    progress.seed += 1
    try:
        found = await differences(case)
    except ConfigurationError:
        progress.refused += 1
        return None
    except Exception as error:
        error.add_note(f"by the fuzz's seed {case.seed}: `make fuzz ARGS=--seed={case.seed}` repeats it")
        raise
    progress.policies += 1
    progress.verdicts += len(case.asks) * len(case.labels)
    return case if found else None


async def report(case: Case) -> str:
    """What there is to say about a case on which not all agree."""
    small, found = await shrunk(case)
    lines = [f"seed {case.seed}: not all decide alike", *map(str, found[:3]), "", small.as_test()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on (1)")
    parser.add_argument("--seed", type=int, help="where to begin; a run is the same from the same seed on")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    sys.exit(asyncio.run(_run(Progress(seed), options.minutes * 60)))


async def _run(progress: Progress, seconds: float) -> int:
    print(f"from seed {progress.seed} on; `make fuzz ARGS=--seed={progress.seed}` repeats it", flush=True)
    for is_due in _ticks(seconds):
        odd = await search(progress)
        if odd is not None:
            print(await report(odd), flush=True)
            return 1
        if is_due:
            print(progress, flush=True)
    print(f"{progress}: all agree", flush=True)
    return 0


def _ticks(seconds: float) -> Iterator[bool]:
    """As long as there is time: whether another line is due."""
    started = said = time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        yield now - said >= _SECONDS_BETWEEN_LINES
        said = now if now - said >= _SECONDS_BETWEEN_LINES else said
