"""Has a candidate policy tried by a process of its own, and compiles what comes back."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_policy.reload.candidate_worker import LONGEST_SECONDS, CheckOutcome, read_outcome
from vecsec_policy.reload.recent_plans import PlanRequest

_PATIENCE_SECONDS = LONGEST_SECONDS + 5
_LESS_URGENT_THAN_REQUESTS = 10
"""A niceness: where both want the processor, requests get nine tenths of it."""
_TOO_LONG = f"could not be checked within {LONGEST_SECONDS} seconds"


class CheckInconclusive(ConfigurationError):
    """A check came to no verdict: on the policy, or because the machine was short of something."""


async def check_in_worker(folder: Path, requests: Sequence[PlanRequest] = ()) -> PolicySnapshot:
    """Read, check and compile a policy folder while requests are being served, which wait for nothing here. What the
    recent `requests` ask for is planned by it already, as far as time allows.

    Raises:
        ConfigurationError: in one line with file, line and reason.
        CheckInconclusive: if it may be otherwise another time.
    """
    process = await asyncio.to_thread(_start, folder)
    try:
        outcome = await asyncio.to_thread(_outcome, process, folder, pickle.dumps(list(requests)))
    finally:
        process.kill()  # does nothing to one that has ended
    if isinstance(outcome, str):
        raise ConfigurationError(outcome)
    return await asyncio.to_thread(PolicySnapshot.of, outcome)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    # Not the event loop's own way, which forks: in a process with threads of gRPC that takes long and complains.
    command = [sys.executable, "-m", "vecsec_policy.reload.candidate_worker", str(folder)]
    try:
        process = subprocess.Popen(  # noqa: S603 (our own module; a folder's name is no option there)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise CheckInconclusive(
            f"{folder}: no process could be started to check it: {error.strerror or error}"
        ) from error
    with suppress(OSError):  # where it is forbidden, the check is in nobody's way for long
        # From here and not by itself: to start and to import takes a third of its time.
        os.setpriority(os.PRIO_PROCESS, process.pid, _LESS_URGENT_THAN_REQUESTS)
    return process


def _outcome(process: "subprocess.Popen[bytes]", folder: Path, requests: bytes) -> CheckOutcome:
    try:
        output, errors = process.communicate(requests, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise CheckInconclusive(f"{folder}: {_TOO_LONG}") from None
    if process.returncode != 0:
        raise CheckInconclusive(f"{folder}: {_exit_reason(process.returncode, errors)}")
    return read_outcome(output)


def _exit_reason(status: int, errors: bytes) -> str:
    if status == -signal.SIGALRM:
        return _TOO_LONG
    if status < 0:
        return f"checking it ended the process that did ({signal.Signals(-status).name}); is something nested deeply?"
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"checking it failed: {lines[-1] if lines else f'status {status}'}"
