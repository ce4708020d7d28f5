"""h2load (nghttp2) as the load generator: a client in C, in processes of its own, that costs little processor time."""

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.samples import Sample
from bench.wire_calls import GrpcCall, HttpCall

OK = 200


def is_present() -> bool:
    """Whether this machine has it (Debian: nghttp2-client)."""
    return shutil.which("h2load") is not None


@dataclass(frozen=True)
class Amount:
    """How long each caller goes on: for so many requests or, if none are given, for so many seconds."""

    requests: int | None = None
    seconds: int = 1

    @property
    def options(self) -> tuple[str, str]:
        return ("-D", str(self.seconds)) if self.requests is None else ("-n", str(self.requests))


def closed_loop(calls: Sequence[HttpCall | GrpcCall], amount: Amount) -> tuple[list[list[Sample]], float]:
    """Each call over and over by a caller of its own, all at once, one request at a time each.

    Returns samples by caller, and the processor time of h2load itself. h2load takes gRPC's errors for successes: count
    those where they are answered.
    """
    before = _cpu_of_ended_children()
    with tempfile.TemporaryDirectory(prefix="vecsec-h2load-") as name:
        folder = Path(name)
        processes = [_start(call, amount, folder, number) for number, call in enumerate(calls)]
        for process in processes:
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(f"h2load ended with {process.returncode}: {errors.decode()}")
        samples = [parse_log((folder / f"{number}.log").read_text()) for number in range(len(calls))]
    return samples, _cpu_of_ended_children() - before


def parse_log(log: str) -> list[Sample]:
    """The samples of a log: start in microseconds since the epoch, HTTP status, microseconds until the end."""
    lines = (line.split("\t") for line in log.splitlines())
    return [
        Sample(int(start) / 1e6, (int(start) + int(taken)) / 1e6, is_ok=int(status) == OK)
        for start, status, taken in lines
    ]


def _cpu_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _start(call: HttpCall | GrpcCall, amount: Amount, folder: Path, number: int) -> "subprocess.Popen[bytes]":
    post = call.as_http() if isinstance(call, GrpcCall) else call
    body, log = folder / f"{number}.body", folder / f"{number}.log"
    body.write_bytes(post.body)
    log.touch()
    headers = [option for name, value in post.headers.items() for option in ("-H", f"{name}: {value}")]
    protocol = [] if isinstance(call, GrpcCall) else ["--h1"]
    command = ["h2load", *protocol, *amount.options, "-c1", "-m1", "-d", str(body), f"--log-file={log}", *headers]
    return subprocess.Popen([*command, post.uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
