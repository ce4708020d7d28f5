"""Writes what comes in as JSON to standard error: `stray_line_reader.py SERVICE [CHILD]`, started by `stray_lines`.

Lines that come at once, as those of a panic do, are one object. With the process id of a child, this is the first
process of a container: it hands signals on to the child, and ends as that ends. It stands alone: nothing but Python's
own modules is there for it.
"""

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from datetime import datetime, timezone

_INPUT, _OUTPUT = 0, 2
_TOGETHER_SECONDS = 0.05
_MOST_BYTES = 32 * 1024
_FATAL = ("panicked at", "Traceback (most recent call last)", "Fatal Python error", "terminate called")
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(service: str, child: int | None) -> int:
    """Read until nobody can write any more, or the child has ended; return the status to end with."""
    woken_by = _listen_to_signals(child)
    status = None if child is None else _status_of(child)  # it may have ended before
    pending = b""
    while status is None:
        ready, _, _ = select.select([_INPUT, woken_by], [], [], _TOGETHER_SECONDS if pending else None)
        if woken_by in ready and child is not None:
            os.read(woken_by, 4_096)
            status = _status_of(child)
        if _INPUT in ready:
            came = os.read(_INPUT, _MOST_BYTES)
            pending += came
            if not came:
                # A child that has closed its standard error may live on.
                status = 0 if child is None else _wait_for(child)
        if pending and (_INPUT not in ready or len(pending) >= _MOST_BYTES):
            _write(service, pending)
            pending = b""
    _write(service, pending + b"".join(_rest()))
    return status


def _listen_to_signals(child: int | None) -> int:
    """Hand signals on to the child, or let them pass; what is returned can be read from when a child has ended."""
    woken_by, wakes = os.pipe()
    os.set_blocking(wakes, False)
    for number in _HANDED_ON:
        signal.signal(number, lambda number, _: None if child is None else _hand_on(child, number))
    if child is not None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what came before has waited until now
    return woken_by


def _rest() -> Iterator[bytes]:
    """What was written before the end."""
    while select.select([_INPUT], [], [], 0)[0] and (came := os.read(_INPUT, _MOST_BYTES)):
        yield came


def _hand_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _status_of(child: int) -> int | None:
    """How the child ended, as a shell says it; None while it runs. Whatever else has ended is taken note of."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1
        if ended == 0:
            return None
        if ended == child:
            return _as_shell(status)


def _wait_for(child: int) -> int:
    return _as_shell(os.waitpid(child, 0)[1])


def _as_shell(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _write(service: str, content: bytes) -> None:
    text = content.decode("utf-8", "replace").strip()
    if not text:
        return
    level = "error" if any(mark in text for mark in _FATAL) else "warning"
    now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")  # noqa: UP017 (as the log has it)
    fields = {"text": text, "service": service, "level": level, "timestamp": now, "message": "a library wrote"}
    line = json.dumps(fields, ensure_ascii=False).encode() + b"\n"
    with contextlib.suppress(OSError):  # if nobody reads any more, the service must not wait for us
        os.write(_OUTPUT, line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
