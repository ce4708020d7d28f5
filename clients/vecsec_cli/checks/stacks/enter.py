"""Becomes a program in the mount namespace of another process, as another user: `python -I -c … PID UID GID GROUPS
PROGRAM …`. It begins as root, so nothing is looked for or run there before it is that user, for good and without a way
to more rights: whoever has captured a service may have made that namespace. Python's own modules alone."""

import ctypes
import os
import sys
from pathlib import Path

NEW_MOUNT_NAMESPACE = 0x00020000
NO_NEW_PRIVILEGES = 38
"""Of the kernel's `setns` and `prctl`."""


def main(pid: str, user: str, group: str, groups: str, *program: str) -> None:
    """Replace this process."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/mnt").open("rb") as namespace:
        _demand(library.setns(namespace.fileno(), NEW_MOUNT_NAMESPACE), "setns")
    os.setgroups([int(each) for each in groups.split(",") if each])
    os.setresgid(int(group), int(group), int(group))
    os.setresuid(int(user), int(user), int(user))
    _demand(library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    os.execve(program[0], program, {})  # noqa: S606 (no shell is what is wanted)


def _demand(status: int, call: str) -> None:
    if status:
        sys.exit(f"{call}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
