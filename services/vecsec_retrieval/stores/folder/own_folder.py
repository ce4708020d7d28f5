"""The folder of an embedded store while a process has it for itself."""

import fcntl
import os
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_retrieval.stores.folder.disk import LOCK_FILE, is_refusal, lock_file
from vecsec_retrieval.stores.folder.store_folder import demand_store
from vecsec_retrieval.stores.folder.store_identity import ListedCells, StoreIdentity, read_identity, write_identity

log = structlog.get_logger()

_NAMED_AT_MOST = 20


class OwnFolder:
    """Held for one process at a time, and a store with an identity."""

    def __init__(self, path: Path, *, may_be_new: bool, shard: str | None = None) -> None:
        """Take the path; `may_be_new` says whether a store may begin where none is, `shard` which one it is to be.

        Raises:
            ConfigurationError: if there is no store, it cannot be used, or another process uses it.
        """
        self._path = path.absolute()
        wanted = demand_store(path, may_be_new=may_be_new, shard=shard)
        self._lock = lock_file(self._path)
        is_on_disk = True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            identity = read_identity(self._path)
            if identity is None:
                identity = wanted
                is_on_disk = self._written(identity)
        except BlockingIOError as error:
            self.close()
            raise ConfigurationError(
                f"CHROMA_PATH: {path} is in use by another retrieval service; stop that one, or name another folder"
            ) from error
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"CHROMA_PATH: {path} cannot be written to ({error.strerror}); make room there, or name another folder"
            ) from error
        self.cells = ListedCells(self._path, identity, is_on_disk=is_on_disk)
        """The list of the store's cells."""
        missing = sorted(name for name in identity.cells if not (self._path / name).is_dir())
        if missing:
            log.error("cells are gone", count=len(missing), tenant_ids=missing[:_NAMED_AT_MOST])

    def _written(self, identity: StoreIdentity) -> bool:
        """Write the identity; a store that has none yet, on a disk that takes no writes, is read without."""
        try:
            write_identity(self._path, identity)
        except OSError as error:
            if not identity.cells or not is_refusal(error):
                raise
            log.warning("the store's id and list of cells cannot be written yet", reason=error.strerror)
            return False
        return True

    def demand_in_place(self) -> None:
        """Refuse another folder than the one that was taken: a store that is not mounted any more leaves an empty one.

        Raises:
            OSError: if it is another, or none.
        """
        if not os.path.samestat(os.fstat(self._lock), (self._path / LOCK_FILE).stat()):
            raise FileNotFoundError(0, "it is another folder than when the service started; mount the store again")

    def close(self) -> None:
        """Leave it to others."""
        os.close(self._lock)
