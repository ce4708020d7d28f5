"""Has a candidate policy tried by a process of its own, and compiles what comes back."""

import asyncio
import pickle
import signal
import subprocess
import sys
from pathlib import Path

from vecsec_chassis.errors import StartupError
from vecsec_policy.snapshot import CheckedPolicy, PolicySnapshot
from vecsec_policy.trial import LONGEST_SECONDS

_PATIENCE_SECONDS = LONGEST_SECONDS + 5
_PAUSE_SECONDS = 0.01
_TOO_LONG = f"could not be checked within {LONGEST_SECONDS} seconds"


async def tried(folder: Path) -> PolicySnapshot:
    """Read, check and compile a policy folder while requests are being served. What holds the interpreter here is the
    last step alone, 20 ms for 200 rules.

    Raises:
        StartupError: in one line with file, line and reason.
    """
    process = await asyncio.to_thread(_start, folder)
    try:
        outcome = await asyncio.to_thread(_outcome, process, folder)
    finally:
        process.kill()  # does nothing to one that has ended
    if isinstance(outcome, str):
        raise StartupError(outcome)
    await asyncio.sleep(_PAUSE_SECONDS)  # whoever waited meanwhile is served before the interpreter is held again
    return PolicySnapshot.of(outcome)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    # Not the event loop's own way, which forks: in a process with threads of gRPC that takes long and complains.
    command = [sys.executable, "-m", "vecsec_policy.trial", str(folder)]
    return subprocess.Popen(  # noqa: S603 (our own module; a folder's name is no option there)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _outcome(process: "subprocess.Popen[bytes]", folder: Path) -> CheckedPolicy | str:
    try:
        output, errors = process.communicate(timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{folder}: {_TOO_LONG}"
    if process.returncode != 0:
        return f"{folder}: {_how_it_ended(process.returncode, errors)}"
    outcome: CheckedPolicy | str = pickle.loads(output)  # noqa: S301 (our own process wrote it)
    return outcome


def _how_it_ended(status: int, errors: bytes) -> str:
    if status == -signal.SIGALRM:
        return _TOO_LONG
    if status < 0:
        return f"checking it ended the process that did ({signal.Signals(-status).name}); is something nested deeply?"
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"checking it failed: {lines[-1] if lines else f'status {status}'}"
