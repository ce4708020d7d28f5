"""Places on the disk that a setting names."""

import errno
import os
import tempfile
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError

_FOR_WRITING = "remount its file system for writing"


def demand_writable(folder: Path, setting: str) -> None:
    """Refuse a folder that cannot be written to, or cannot be made where it is not there. Nothing is left behind.

    Raises:
        ConfigurationError: naming the setting.
    """
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            """A nameless file that could be made is a place that can be written to."""
    except OSError as error:
        remedy = _FOR_WRITING if error.errno == errno.EROFS else "give it to the user of this service"
        raise ConfigurationError(
            f"{setting}: {folder} cannot be written to ({error.strerror}); {remedy}, or name another"
        ) from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
