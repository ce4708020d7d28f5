"""One caller's latency with this checkout beside another's: `PYTHONPATH=tests python -m bench.beside OTHER_CHECKOUT`.

Both have an environment (`.venv`) of their own. Two stacks with the same data stand side by side and are searched in
turns, A B B A, so that what the machine does to one it does to the other; then both start anew, four times in all.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_STACKS, _ROUNDS, _TURN = 4, 10, 50
_TENANTS, _ROWS, _QUERIES, _K = 20, 1000, 200, 10
_HERE = Path(__file__).resolve().parents[2]
_HERE_FIRST = {0, 3}
"""Of two stacks, the one that is started first is 3 to 10 % slower, whichever code it runs."""


@dataclass(frozen=True)
class _Side:
    """A running stack of one checkout, which searches when told to."""

    process: "subprocess.Popen[str]"

    def turn(self, number: int) -> list[float]:
        """The latencies of a turn of searches, in milliseconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(number, file=self.process.stdin, flush=True)
        found: list[float] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def _side(checkout: Path, data: Path) -> Iterator[_Side]:
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "tests"),
        "PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}",
        "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",  # as the SDK's page advises callers
    }
    command = [str(checkout / ".venv/bin/python"), str(Path(__file__).resolve()), "--search", str(data)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"the stack of {checkout} did not start; see above"
        yield _Side(process)
        assert process.stdin is not None
        process.stdin.close()


def _search_when_told(data: Path) -> None:
    from bench import secured, sides  # of the checkout that runs this
    from bench.corpus import Model, make_queries, make_tenant, tenant_id

    tenants, queries = [tenant_id(number) for number in range(_TENANTS)], make_queries(_QUERIES)
    with secured.running(data, tenants) as ours:
        if not (data / "loaded").exists():
            model = Model()
            for number in range(_TENANTS):
                ours.add(make_tenant(model, number, _ROWS))
            (data / "loaded").touch()
        sides.make_hot(ours, tenants)
        print("ready", flush=True)
        for line in sys.stdin:
            seconds = []
            for number in range(_TURN):
                place = int(line) * _TURN + number
                tenant, query = tenants[place * 7 % _TENANTS], queries[place % _QUERIES]
                started = time.perf_counter()
                ours.search(tenant, query, _K)
                seconds.append(time.perf_counter() - started)
            print(json.dumps([1000 * each for each in seconds]), flush=True)


def main(other: Path) -> None:
    """Measure and print."""
    here: list[float] = []
    there: list[float] = []
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for stack in range(_STACKS):
            with ExitStack() as running:
                sides = {_HERE: Path(folder, "here"), other: Path(folder, "there")}
                order = [_HERE, other] if stack in _HERE_FIRST else [other, _HERE]
                started = {each: running.enter_context(_side(each, sides[each])) for each in order}
                a, b = started[_HERE], started[other]
                ours: list[float] = []
                theirs: list[float] = []
                for number in range(_ROUNDS):
                    for side, found in ((a, ours), (b, theirs), (b, theirs), (a, ours)):
                        found.extend(side.turn(number))
                ratios.append(statistics.median(ours) / statistics.median(theirs))
                print(
                    f"stack {stack + 1}: p50 here {statistics.median(ours):.2f} ms, there "
                    f"{statistics.median(theirs):.2f} ms, ratio {ratios[-1]:.3f}",
                    flush=True,
                )
                here += ours
                there += theirs
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        mine, others = (sorted(each)[int(share * len(each))] for each in (here, there))
        print(f"{name}: here {mine:.2f} ms, there {others:.2f} ms, ratio {mine / others:.3f}")
    print(f"median of the stacks' ratios of p50: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    if sys.argv[1] == "--search":
        _search_when_told(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve())
