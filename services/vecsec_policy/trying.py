"""Has a candidate policy tried by a process of its own, and compiles what comes back."""

import asyncio
import pickle
import signal
import sys
from pathlib import Path

from vecsec_chassis.errors import StartupError
from vecsec_policy.snapshot import CheckedPolicy, PolicySnapshot
from vecsec_policy.trial import LONGEST_SECONDS

_PATIENCE_SECONDS = LONGEST_SECONDS + 5


async def tried(folder: Path) -> PolicySnapshot:
    """Read, check and compile a policy folder while requests are being served. What holds the interpreter here is the
    last step alone, 20 ms for 200 rules.

    Raises:
        StartupError: in one line with file, line and reason.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vecsec_policy.trial", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise StartupError(f"{folder}: could not be checked within {LONGEST_SECONDS} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise StartupError(f"{folder}: {_how_it_ended(process.returncode, errors)}")
    outcome = await asyncio.to_thread(_read, output)
    if isinstance(outcome, str):
        raise StartupError(outcome)
    return PolicySnapshot.of(outcome)


def _read(output: bytes) -> CheckedPolicy | str:
    outcome: CheckedPolicy | str = pickle.loads(output)  # noqa: S301 (our own process wrote it)
    return outcome


def _how_it_ended(status: int | None, errors: bytes) -> str:
    if status == -signal.SIGALRM:
        return f"could not be checked within {LONGEST_SECONDS} seconds"
    if status is not None and status < 0:
        return f"checking it ended the process that did ({signal.Signals(-status).name}); is something nested deeply?"
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"checking it failed: {lines[-1] if lines else f'status {status}'}"
