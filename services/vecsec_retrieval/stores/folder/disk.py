"""The disk of CHROMA_PATH: whether it takes writes, and how much room it has. What is only read needs neither."""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.process.writable_folders import demand_writable
from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.model.store import WritesRefused

LOCK_FILE = ".lock"
ROOM_IN_RESERVE = 64 * 1024 * 1024
"""Bytes that a write must leave free. ChromaDB, once it has met a full disk, may wait for its own lock for ever."""
_ROOM_TO_DELETE = 16 * 1024 * 1024
"""A deletion may use of the reserve what is above this."""
_BYTES_OF_A_DELETED_ROW = 300
"""In the log, its index and the journal; measured."""
_BYTES_WRITTEN_PER_BYTE = 4
"""A row is written to the log and its index, and what stood on their pages to a journal before; with some room."""
_NO_ROOM = "there is no room left on the disk of the vector store: nothing is stored until there is; reads go on"
_READ_ONLY = "the disk of the vector store is read-only: nothing is stored until it is writable again; reads go on"
_REFUSALS = {errno.ENOSPC: _NO_ROOM, errno.EDQUOT: _NO_ROOM, errno.EROFS: _READ_ONLY}
"""What a disk says that can still be read."""


class StoreDisk:
    """Asked before each write, and by the heartbeat."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refusal(self) -> str | None:
        """Why it takes no writes now, for everybody; None if it does.

        Raises:
            OSError: if more is wrong than that it is full or read-only.
        """
        return self._probe() or (_NO_ROOM if self._free_bytes() < ROOM_IN_RESERVE else None)

    def likely_cause(self) -> str | None:
        """The refusal, if there is one, as a reason for what has failed."""
        try:
            return self.refusal()
        except OSError:
            return None

    def require_room(self, wanted: int = 0) -> None:
        """Refuse a write of so many bytes for which there is no room.

        Raises:
            WritesRefused: saying why.
        """
        self._require_free(wanted + ROOM_IN_RESERVE)

    def require_room_for(self, rows: Sequence[StoredRow]) -> None:
        """Refuse rows for which there is no room; raises as `require_room`."""
        size = sum(len(row.text) + (0 if row.embedding is None else row.embedding.nbytes) for row in rows)
        self.require_room(size * _BYTES_WRITTEN_PER_BYTE)

    def require_room_to_delete(self, rows: int = 0) -> None:
        """Refuse a deletion of so many rows that could meet a full disk; raises as `require_room`."""
        self._require_free(_ROOM_TO_DELETE + rows * _BYTES_OF_A_DELETED_ROW)

    def _require_free(self, wanted: int) -> None:
        refusal, free = self._probe(), self._free_bytes()
        if refusal is not None or free < wanted:
            raise WritesRefused(refusal or _NO_ROOM, detail=f"{free:,} bytes free at {self._path}, {wanted:,} wanted")

    def _probe(self) -> str | None:
        try:
            # The mount's flags do not tell: ext4 may refuse writes after an error and be mounted for writing.
            with tempfile.TemporaryFile(dir=self._path):
                """A nameless file that could be made is a path that can be written to."""
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            return _REFUSALS[error.errno]
        return None

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._path).free


def is_refusal(error: OSError) -> bool:
    """Whether a disk says this that can still be read."""
    return error.errno in _REFUSALS


def lock_file(path: Path) -> int:
    """The descriptor of the folder's lock file, which is to be locked; both are made where they are not there.

    Raises:
        ConfigurationError: if it can neither be written to nor holds a store that can be read.
    """
    file = path / LOCK_FILE
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _REFUSALS or not file.exists():
            raise ConfigurationError(
                f"CHROMA_PATH: {path} cannot be written to ({error.strerror}); give it to the user of this service"
            ) from error
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


def demand_usable(path: Path) -> None:
    """Refuse a path that a start would be refused with; one that is full, or read-only and holds a store, is read.

    Raises:
        ConfigurationError: naming the setting.
    """
    try:
        demand_writable(path, "CHROMA_PATH")
    except ConfigurationError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in _REFUSALS or not (path / LOCK_FILE).exists():
            raise
