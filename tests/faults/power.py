"""A file system whose device is a file: a copy of that file is what a power cut would leave."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES = 192 * 2**20
PROGRAMS = ("mkfs.ext4", "mount", "umount")
_NOTHING_BY_ITSELF = "loop,commit=3600"
"""The journal of the file system is written when somebody syncs, not every five seconds."""


def make_device(file: Path, *options: str) -> None:
    with file.open("wb") as device:
        device.truncate(BYTES)
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, str(file))


@contextmanager
def mounted(device: Path, folder: Path, options: str = _NOTHING_BY_ITSELF) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", options, str(device), str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def copy_device(device: Path, copy: Path) -> None:
    """What the device was given until now; what only the file system knows is missing there."""
    _run("cp", "--sparse=always", str(device), str(copy))


def missing_loop() -> str | None:
    """Why no file can be mounted here; None if one can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    with tempfile.TemporaryDirectory() as name:
        device = Path(name) / "device"
        try:
            with device.open("wb") as file:
                file.truncate(8 * 2**20)
            _run("mkfs.ext4", "-q", str(device))
            with mounted(device, Path(name) / "mounted", "loop"):
                return None
        except RuntimeError as error:
            return f"no file can be mounted (root can, with loop devices): {error}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
