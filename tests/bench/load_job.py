"""A load generator of our own: a job for it, done in a process of its own.

Other than h2load it asks for another tenant and text each time, and keeps a fixed rate whatever the answers take.
"""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.samples import Sample
from bench.wire_calls import GrpcCall, HttpCall


@dataclass(frozen=True)
class Job:
    """What to send: the calls in turn, each to the same server."""

    calls: Sequence[HttpCall] | Sequence[GrpcCall]
    rows: int
    """So many each answer has to have."""
    seconds: float
    callers: int | None = None
    """So many, each of whom waits for an answer before the next request; None for an open loop."""
    rate: float = 0.0
    """Requests a second of an open loop."""


@dataclass(frozen=True)
class Load:
    """What came of a job."""

    callers: Sequence[Sequence[Sample]]
    cpu_seconds: float
    """That the client itself used for it."""


def run(job: Job) -> Load:
    """Have a job done by a process of its own."""
    with tempfile.TemporaryDirectory(prefix="vecsec-load-") as folder:
        job_file, result_file = Path(folder, "job"), Path(folder, "result")
        job_file.write_bytes(pickle.dumps(job))
        subprocess.run([sys.executable, "-m", "bench.load_client", str(job_file), str(result_file)], check=True)
        load: Load = pickle.loads(result_file.read_bytes())
    return load
