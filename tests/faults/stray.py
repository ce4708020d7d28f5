"""Writes as a library does, past Python, and ends: `python -m faults.stray HOW`."""

import ctypes
import os
import signal
import sys
import time

from vecsec_chassis.telemetry.stray_lines import turn_into_json, write_for_people

LINES = b"thread '<unnamed>' panicked at src/lib.rs:78:54:\ncalled `Result::unwrap()` on an `Err` value\n"


def main(how: str) -> None:
    turn_into_json("retrieval")
    write_for_people("vecsec retrieval: as it is")
    if how == "terminated":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        time.sleep(600)
    libc = ctypes.PyDLL(None)  # no thread of this process may run before it ends
    libc.write(2, LINES, len(LINES))
    if how == "aborted":
        libc.abort()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raised":
        raise KeyError(how)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
