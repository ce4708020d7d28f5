"""What the wire alone costs: three processes of VecSec's shape that do nothing, on the same machine."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import grpc
import uvloop
from support.installation import free_ports

from bench.findings import Figure, Findings, Task
from bench.floor_server import SERVICE
from bench.latencies import latency
from bench.processes import cpu_seconds
from vecsec_chassis.rpc import grpc_polling

CALLERS = 8
_REQUEST = bytes(1024)
_PAUSE_SECONDS = 0.004
_WARM_UP = 200
_INTRODUCTION = (
    "The floor of this shape in Python's gRPC: a client calls a server (unary, grpc.aio, uvloop), which exchanges one "
    "message with each of two others on streams that stay open, 1 kB there and 4 kB back. Nothing is verified, "
    "planned, searched, checked or recorded. The servers wait for the network as VecSec's do. With pauses of 4 ms "
    "between calls each process finds its caches as cold as in a real search, in which it waits as long for the others."
)


def measure(task: Task) -> Findings:
    """One caller without and with pauses, then eight at once."""
    calls = task.number("floor-calls", full=3_000, quick=500)
    with _servers() as (port, pids):
        tight, paused = (latency(_one_caller(port, calls, pause)) for pause in (0.0, _PAUSE_SECONDS))
        before = cpu_seconds(pids)
        count, seconds = uvloop.run(_many_callers(port, task.number("seconds", full=5, quick=3)))
        used = {name: after - before[name] for name, after in cpu_seconds(pids).items()}
    return Findings(
        _INTRODUCTION,
        [
            Figure("empty search, one caller, p50", tight.p50, "ms"),
            Figure("empty search, one caller, p99", tight.p99, "ms"),
            Figure("empty search, one caller with pauses, p50", paused.p50, "ms"),
            Figure("empty search, one caller with pauses, p99", paused.p99, "ms"),
            Figure(f"empty searches a second, {CALLERS} callers", count / seconds, "/s"),
            *(Figure(f"processor time of an empty search, {name}", used[name] / count * 1_000, "ms") for name in used),
        ],
    )


@contextmanager
def _servers() -> Iterator[tuple[int, Mapping[str, int | str]]]:
    """The three processes, and this one as their client."""
    front, *peers = free_ports(3)
    environment = {grpc_polling.VARIABLE: grpc_polling.WITHOUT_EVENT_ENGINE} | os.environ
    with ExitStack() as stack:
        processes = {}
        for name, ports in (("one peer", peers[:1]), ("other peer", peers[1:]), ("front", [front, *peers])):
            command = [sys.executable, "-m", "bench.floor_server", *map(str, ports)]
            process = stack.enter_context(subprocess.Popen(command, env=environment))
            stack.callback(process.kill)
            processes[name] = process
        yield front, {"client": "self"} | {name: process.pid for name, process in processes.items()}


def _one_caller(port: int, calls: int, pause_seconds: float) -> list[float]:
    """How long each call took, in seconds."""
    taken = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        search = channel.unary_unary(f"/{SERVICE}/Search")
        for _ in range(_WARM_UP):
            search(_REQUEST, wait_for_ready=True)
        for _ in range(calls):
            time.sleep(pause_seconds)
            started = time.perf_counter()
            search(_REQUEST)
            taken.append(time.perf_counter() - started)
    return taken


async def _many_callers(port: int, seconds: float) -> tuple[int, float]:
    """How many calls were answered, and within how many seconds."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        search = channel.unary_unary(f"/{SERVICE}/Search")
        await search(_REQUEST, wait_for_ready=True)
        started = time.perf_counter()

        async def call_on() -> int:
            count = 0
            while time.perf_counter() - started < seconds:
                await search(_REQUEST)
                count += 1
            return count

        counts = await asyncio.gather(*(call_on() for _ in range(CALLERS)))
        return sum(counts), time.perf_counter() - started
