"""Becomes a service process that cannot outlive the process that started it.

    python -m vecsec_cli.local.child_process PARENT_PID MODULE

On Linux the kernel sends SIGTERM to the service when its parent dies, even by SIGKILL; the mark survives exec.
Elsewhere this only runs the module.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and replace it by the service."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(f"the process {parent} that started this is gone")
    # -P: the current folder is no source of modules, whatever an operator keeps there.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606 (our own interpreter and module)


if __name__ == "__main__":
    main()
