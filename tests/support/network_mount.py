"""A folder that the kernel takes for one on another machine."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted_without_server(folder: Path) -> Iterator[None]:
    """The kernel knows it for a mount by sshfs, and that nobody serves it."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error.strerror}")
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    failed = libc.mount(b"host:/", os.fsencode(folder), b"fuse.sshfs", 0, options)
    reason = os.strerror(ctypes.get_errno())
    os.close(descriptor)
    if failed:
        pytest.skip(f"no file system can be mounted here: {reason}")
    try:
        yield
    finally:
        with suppress(OSError):
            libc.umount2(os.fsencode(folder), 2)
