"""A disk that can be filled to its last byte, and one that begins to refuse writes while it is used."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.power import make_device, mounted
from support.waiting import wait_until

_NOTHING_FOR_ROOT = ("-m", "0")
_A_WRITE = 64 * 1024


class SmallDisk:
    """An ext4 file system of its own, some 190 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "somebody-elses-file"

    def fill(self, free: int = 0) -> None:
        """Leave so many bytes: with 0, not one more block can be had."""
        with self._filler.open("ab", buffering=0) as filler:
            try:
                while self._free() > free:
                    filler.write(bytes(min(_A_WRITE, max(self._free() - free, 1))))
            except OSError:
                """It is full."""

    def give_back(self) -> None:
        """As if somebody had removed what took the room."""
        self._filler.unlink()

    def fail(self) -> None:
        """As a file system does that has found itself damaged, and was told to be read-only then."""
        device = self.folder.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("a fault of the test's")

    def remount(self, how: str) -> None:
        """With "ro" or "rw"; the first only where nobody has a file open for writing."""
        command = ["mount", "-o", f"remount,{how}", str(self.folder)]
        wait_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)

    def _free(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bfree * status.f_frsize


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A new one, below this folder."""
    folder.mkdir()
    device = folder / "device"
    make_device(device, *_NOTHING_FOR_ROOT)
    with mounted(device, folder / "mounted", "loop,errors=remount-ro") as root:
        yield SmallDisk(root)
