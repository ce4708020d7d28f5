"""What libraries write to standard error by themselves, as JSON: panics of Rust, complaints of gRPC, tracebacks.

They write to file descriptor 2, past any logger of Python's. It leads to a process of its own (`stray_line_reader.py`),
for a thread would die with what it has not read yet, and these are often the last lines of a process. If this process
is the first one of a container, all others die with it: then the reader takes its place, and the service is its child.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import structlog

log = structlog.get_logger()

_READER = Path(__file__).with_name("stray_line_reader.py")
_STANDARD_ERROR = 2
_FIRST_PROCESS = 1


class _People:
    """Where people read what is written for them."""

    descriptor = _STANDARD_ERROR


def turn_into_json(service: str) -> None:
    """Have each such line in an object of JSON on standard error, tagged with the service's name, from now on.

    To be called before there are threads. If no process can be started, the log says so and lines stay as they are.
    """
    reading, writing = os.pipe()
    people = os.dup(_STANDARD_ERROR)
    # Without the environment and site-packages, it starts in 20 ms and takes 4 MB.
    command = [sys.executable, "-I", "-S", str(_READER), service]
    try:
        if os.getpid() == _FIRST_PROCESS:
            _fork(command, reading)
        else:
            subprocess.Popen(command, stdin=reading)  # noqa: S603 (our own script; ends when nobody can write any more)
    except OSError as error:
        log.warning("what libraries write stays as it is", reason=error.strerror)
    else:
        os.dup2(writing, _STANDARD_ERROR)
        _People.descriptor = people
    finally:
        os.close(reading)
        os.close(writing)


def write_for_people(line: str) -> None:
    """Write a line to standard error as it is."""
    if _People.descriptor == _STANDARD_ERROR:
        sys.stderr.write(f"{line}\n")
    else:
        os.write(_People.descriptor, f"{line}\n".encode())


def _fork(command: list[str], reading: int) -> None:
    """Go on as a child of the reader. Signals wait meanwhile: a first process that does not handle them gets none."""
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child:
        os.dup2(reading, 0)
        os.execv(command[0], [*command, str(child)])  # noqa: S606 (our own interpreter and script)
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
