"""One side under load: who calls, what came of it, and what it cost each process."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench import h2load, load_job
from bench.load_job import Job
from bench.processes import cpu_seconds
from bench.samples import Sample, Summary, Window, from_first_to_last, summary, while_all_were_at_it
from bench.searches import K
from bench.wire_calls import GrpcCall, HttpCall

CALLERS = 8
H2LOAD, PYTHON = "h2load", "Python"


@dataclass
class UnderLoad:
    """A side's searches and processes, and what was seen of them so far, by client."""

    calls: Sequence[GrpcCall] | Sequence[HttpCall]
    pids: Mapping[str, int]
    _windows: dict[str, list[Window]] = field(default_factory=dict)
    _cpu_seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    _answers: dict[str, int] = field(default_factory=dict)

    def closed_loop(self, client: str, seconds: int, generator: random.Random) -> None:
        """Have eight callers search for some seconds, each of whom waits for an answer before the next search."""
        before = cpu_seconds(self.pids)
        callers: Sequence[Sequence[Sample]]
        if client == H2LOAD:
            callers, own = h2load.closed_loop(generator.sample(self.calls, CALLERS), h2load.Amount(seconds=seconds))
        else:
            load = load_job.run(Job(self.calls, K, seconds, CALLERS))
            callers, own = load.callers, load.cpu_seconds
        used = {name: after - before[name] for name, after in cpu_seconds(self.pids).items()} | {"client": own}
        totals = self._cpu_seconds.setdefault(client, {})
        for name, value in used.items():
            totals[name] = totals.get(name, 0.0) + value
        self._windows.setdefault(client, []).append(while_all_were_at_it(callers))
        self._answers[client] = self._answers.get(client, 0) + sum(map(len, callers))

    def open_loop(self, rate: float, seconds: int) -> Summary:
        """Send searches at a fixed rate, whatever their answers take."""
        [samples] = load_job.run(Job(self.calls, K, seconds, rate=rate)).callers
        return summary([from_first_to_last(samples)])

    def summary(self, client: str) -> Summary:
        """All closed loops of this client together."""
        return summary(self._windows[client])

    def cpu_milliseconds(self, client: str) -> dict[str, float]:
        """Processor time that a search took in closed loops of this client, by process."""
        return {name: value * 1e3 / self._answers[client] for name, value in self._cpu_seconds[client].items()}
