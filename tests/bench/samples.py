"""What load generators saw of each request, and what follows from it."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.latencies import Latency, latency


@dataclass(frozen=True)
class Sample:
    """One request."""

    due: float
    """When it was to be sent, in seconds of any clock: in an open loop not when it was, for a caller who has to wait
    for the sender to get round to the request waits all the same."""
    ended: float
    """When its answer was there, by the same clock."""
    is_ok: bool = True

    @property
    def seconds(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True)
class Window:
    """A stretch of time, and the samples whose answers came within it."""

    samples: Sequence[Sample]
    seconds: float


@dataclass(frozen=True)
class Summary:
    """A load in figures."""

    rate: float
    """Answers a second."""
    latency: Latency
    errors: int
    answers: int


def summary(windows: Sequence[Window]) -> Summary:
    """All windows together."""
    samples = [each for window in windows for each in window.samples]
    return Summary(
        rate=len(samples) / sum(window.seconds for window in windows),
        latency=latency([each.seconds for each in samples]),
        errors=sum(not each.is_ok for each in samples),
        answers=len(samples),
    )


def while_all_were_at_it(callers: Sequence[Sequence[Sample]]) -> Window:
    """The time in which every caller of a closed loop was at work; before and after it the others had less company.

    Raises:
        ValueError: if there was no such time.
    """
    if not all(callers):
        raise ValueError("a caller got no answer in its turn; make turns longer (--set seconds=…)")
    start = max(samples[0].due for samples in callers)
    end = min(samples[-1].ended for samples in callers)
    inside = [each for each in itertools.chain(*callers) if start < each.ended <= end]
    return Window(inside, end - start)


def from_first_to_last(samples: Sequence[Sample]) -> Window:
    """The time of an open loop, from its first request to its last answer."""
    return Window(samples, max(each.ended for each in samples) - min(each.due for each in samples))


def due_times(rate: float, seconds: float) -> Iterator[float]:
    """When the requests of an open loop are to be sent: a fixed rate, in seconds from its start."""
    return (number / rate for number in range(int(rate * seconds)))
