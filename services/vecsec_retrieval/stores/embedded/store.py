"""The embedded store: a directory per tenant, each with a Chroma of its own, inside this process."""

import functools
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

# One thread per open cell instead of one per core; the Rust runtime of each reads this when it starts.
os.environ.setdefault("TOKIO_WORKER_THREADS", "1")

from chromadb.api.rust import RustBindingsAPI
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System

from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, StoreDamaged
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.process.writable_folders import sync_folder
from vecsec_retrieval.model.store import SNAPSHOT_SUFFIX, UNFINISHED_SNAPSHOT, WritesRefused
from vecsec_retrieval.stores.causes import RETRY_SECONDS
from vecsec_retrieval.stores.chroma_collections import ChromaCell, ErrorTranslation
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.checked_rows import TornRow
from vecsec_retrieval.stores.embedded.moments import Moments
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, FORMAT, Record
from vecsec_retrieval.stores.embedded.segments import EmptySegments
from vecsec_retrieval.stores.embedded.take_over import take_over
from vecsec_retrieval.stores.error_translation import damaged, embedded_errors
from vecsec_retrieval.stores.folder.disk import StoreDisk
from vecsec_retrieval.stores.folder.open_files import FILES_OF_CHROMA, FileRoom
from vecsec_retrieval.stores.folder.own_folder import OwnFolder
from vecsec_retrieval.stores.folder.store_folder import CELL_MARK
from vecsec_retrieval.stores.folder.store_identity import ListedCells

_COPIES_OF_A_TAKE_OVER = 3
"""A cell is copied, and its embeddings, which are most of it, are written to the copy's log."""


class EmbeddedCellStore:
    """Cells as directories below one path; see `vecsec_retrieval.model.store.CellStore`. For one process at a time."""

    kind = "embedded"
    has_other_writers = False

    def __init__(self, path: Path, *, may_be_new: bool = True, shard: str | None = None) -> None:
        """Take the path for this process alone; `may_be_new` says whether a store may begin where none is, `shard`
        which one it is, if there are several.

        Raises:
            ConfigurationError: if there is no store, it cannot be used, or another process uses it. A full disk is no
                reason, nor is one that is read-only and holds a store: the rows can be read.
        """
        self._path = path.absolute()
        # Made once: to make them takes as long as to open a cell.
        self._settings = Settings(anonymized_telemetry=False, is_persistent=True)
        self._left: dict[Path, _Identity] = {}
        """How this process left the files of cells that were looked through."""
        self._whole: dict[Path, _Identity] = {}
        """And of those whose rows were all looked at."""
        self._damaged: dict[Path, tuple[_Identity, str]] = {}
        """Files that were found damaged, and how."""
        self._moments = Moments()
        self._files = FileRoom()
        self._folder = OwnFolder(path, may_be_new=may_be_new, shard=shard)
        self._shard = shard
        self._disk = StoreDisk(self._path)

    @property
    def location(self) -> str:
        return str(self._path)

    @property
    def cells(self) -> ListedCells:
        """The cells that there are."""
        return self._folder.cells

    def open(self, tenant_id: str, *, create: bool) -> EmbeddedCell | None:
        directory = self._directory(tenant_id)
        translated = functools.partial(self._translated, tenant_id, directory / DATABASE_FILE)
        open_chroma = functools.partial(self._open_chroma, directory, tenant_id, translated)
        with translated():
            if not _holds_cell(directory, tenant_id):
                self._demand_none_listed(directory, tenant_id)
                if not create:
                    return None
                self._disk.require_room()
                self._make(directory, tenant_id, translated)
                self._whole[directory / DATABASE_FILE] = _identity(directory / DATABASE_FILE)
            has_whole_rows = self._has_whole_rows(directory / DATABASE_FILE)  # before anything is noted there
            self._refuse_damaged(directory / DATABASE_FILE, tenant_id)
            record = self._record_of_format(directory, tenant_id)
            try:
                self._prepare(record, directory, tenant_id)
                epoch = self._require_own(record, tenant_id)
                # Not before it is whole: what a crash leaves in between is put on the list when it is opened again.
                self._folder.cells.add(tenant_id, epoch=epoch, if_possible=self._disk.likely_cause() is not None)
            except BaseException:
                record.close()
                raise
        return EmbeddedCell(
            tenant_id,
            record,
            open_chroma,
            EmptySegments(record, directory),
            translated,
            moments=self._moments,
            disk=self._disk,
            files=self._files,
            has_whole_rows=has_whole_rows,
            on_close=lambda is_whole: self._leave(record, is_whole=is_whole),
        )

    def count_rows(self, tenant_id: str) -> int:
        """How many rows a cell holds that is not open: two readers in one process would take each other's locks away.

        Raises:
            StoreDamaged: if it cannot be read.
        """
        database = self._directory(tenant_id) / DATABASE_FILE
        with self._translated(tenant_id, database), closing(Record(database)) as record:
            return record.count_rows()

    @contextmanager
    def _translated(self, tenant_id: str, database: Path) -> Iterator[None]:
        """Around what is done with a cell: a file that is not what was written is remembered."""
        try:
            with embedded_errors(tenant_id, self._disk.likely_cause, database):
                yield
        except StoreDamaged as error:
            is_certain = isinstance(error.__cause__, TornRow) or type(error.__cause__) is sqlite3.DatabaseError
            if is_certain and database.exists():
                self._damaged[database] = _identity(database), str(error.detail)
            raise

    def _refuse_damaged(self, database: Path, tenant_id: str) -> None:
        """A file that was found damaged is not asked again before it is another: parts of it would answer."""
        identity, detail = self._damaged.get(database, (None, ""))
        if identity == _identity(database):
            raise damaged(tenant_id, detail)

    def _demand_none_listed(self, directory: Path, tenant_id: str) -> None:
        """Refuse to take a cell that is gone for one that never was.

        Raises:
            StoreDamaged: if it is gone.
            RetrievalUnavailable: if the whole store is.
        """
        with self._in_place():
            if tenant_id not in self._folder.cells:
                return
        raise StoreDamaged(
            f"the store of tenant {tenant_id!r} is gone; nothing was deleted by VecSec; "
            "put its directory back from a backup",
            detail=f"{directory} is missing or empty, but on the list of cells",
        )

    def _make(self, directory: Path, tenant_id: str, translated: ErrorTranslation) -> None:
        """Have a cell of ChromaDB, whole: one that is half made when a process ends would pass for damaged."""
        making = self._path / f".making-{directory.name}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        self._open_chroma(making, tenant_id, translated).close()
        (directory / DATABASE_FILE).unlink(missing_ok=True)  # it is empty
        making.rename(directory)
        sync_folder(self._path)

    def _record_of_format(self, directory: Path, tenant_id: str) -> Record:
        """The record of a cell of the present format, or of a newer one."""
        with ExitStack() as unless_returned:
            record = Record(directory / DATABASE_FILE)
            unless_returned.callback(record.close)
            waiting = 0
            if record.format < FORMAT:
                (directory / CELL_MARK).touch(mode=0o600)
                waiting = len(record.rows_without_embedding())
                if not waiting:
                    record.mark(tenant_id)
            if not waiting:
                unless_returned.pop_all()
                return record
        self._take_over(directory, tenant_id, waiting)
        return Record(directory / DATABASE_FILE)

    def _take_over(self, directory: Path, tenant_id: str, waiting: int) -> None:
        """Have a cell of version 0.1 in the present format."""
        try:
            self._disk.require_room(_COPIES_OF_A_TAKE_OVER * sum(file.stat().st_size for file in directory.rglob("*")))
        except WritesRefused as refused:
            raise LimitExceeded(
                f"the store of tenant {tenant_id!r} is of version 0.1 and has to be copied before it is read; "
                "the disk of the vector store has no room for that, or is read-only",
                detail=refused.detail,
            ) from refused
        take_over(directory, tenant_id, waiting)

    def _prepare(self, record: Record, directory: Path, tenant_id: str) -> None:
        """Have a cell that this version reads, is sound, and is the tenant's."""
        marks = record.marks
        if marks.format > FORMAT:
            raise RetrievalUnavailable(
                f"the store of tenant {tenant_id!r} was written by a newer version of VecSec; start that one",
                detail=f"{directory}: format {marks.format}, known is {FORMAT}",
            )
        self._require_sound(record)
        if marks.tenant_id != tenant_id:
            raise StoreDamaged(
                f"the store of tenant {tenant_id!r} is that of another tenant; nothing was deleted; "
                "restore its directory from a backup of its own",
                detail=f"{record.database} says that it is of tenant {marks.tenant_id!r}",
            )
        self._take_in(record, tenant_id, marks.store_id)

    def _take_in(self, record: Record, tenant_id: str, marked: str | None) -> None:
        """Have a cell of this store. One without mark is of the time before there were any."""
        store_id = self._folder.cells.store_id
        if marked is None:
            if self._folder.cells.is_on_disk and self._disk.likely_cause() is None:
                record.note_store(store_id)
                self._left[record.database] = _identity(record.database)
        elif marked != store_id:
            raise StoreDamaged(
                f"the store of tenant {tenant_id!r} is a cell of another store; nothing was deleted; "
                "put its own directory back from a backup",
                detail=f"{record.database} is of store {marked}, this store is {store_id}",
            )

    def _require_own(self, record: Record, tenant_id: str) -> int:
        """Have a cell that this shard owns; since which epoch it does."""
        marks = record.marks
        if self._shard is None:
            return marks.epoch
        if marks.shard is None:
            # A new one is begun by the placement in force; any other is of the time before there were shards.
            epoch = 0 if tenant_id in self._folder.cells else self._folder.cells.placement_epoch
            if self._disk.likely_cause() is None:
                record.note_owner(self._shard, epoch)
                self._left[record.database] = _identity(record.database)
            return epoch
        if marks.shard != self._shard:
            raise StoreDamaged(
                f"the store of tenant {tenant_id!r} is a cell of shard {marks.shard!r}; nothing was deleted; "
                "put it back there, or restore this shard's own",
                detail=f"{record.database}: shard {marks.shard!r} since epoch {marks.epoch}; this is {self._shard!r}",
            )
        return marks.epoch

    def _require_sound(self, record: Record) -> None:
        """Have the log's structure looked at, unless the file is as VecSec left it."""
        database = record.database
        is_first_time = database not in self._left
        if _identity(database) not in {self._left.get(database), _left_by_another(database)}:
            record.check()
        if is_first_time:
            _remove_what_nobody_names(database.parent, record)
        self._left[database] = _identity(database)

    def _has_whole_rows(self, database: Path) -> bool:
        return _identity(database) in {self._whole.get(database), _left_by_another(database)}

    def _leave(self, record: Record, *, is_whole: bool) -> None:
        """Have the next process know, too, that the file is sound: to look through 100,000 rows takes seconds."""
        identity = self._left[record.database] = _identity(record.database)
        if not is_whole or identity == _left_by_another(record.database):
            return  # not all was looked at, or it was only read
        self._whole[record.database] = identity
        mark = record.database.with_name(CELL_MARK)
        with suppress(OSError):  # then it is looked through
            aside = mark.with_name(f"{CELL_MARK}.new")
            aside.write_text(json.dumps({"database": identity}))
            aside.replace(mark)

    def _open_chroma(self, directory: Path, tenant_id: str, translated: ErrorTranslation) -> ChromaCell:
        with translated(), self._files.promised(FILES_OF_CHROMA):
            # Not through PersistentClient: its cache keeps a client whose start failed, and hands it out again.
            system = System(self._settings.model_copy(update={"persist_directory": str(directory)}))
            api = system.instance(RustBindingsAPI)
            system.start()
        return ChromaCell(
            api,
            tenant_id=tenant_id,
            chroma_tenant=DEFAULT_TENANT,
            database=DEFAULT_DATABASE,
            translated=translated,
            on_close=system.stop,
        )

    def heartbeat(self) -> None:
        self.refusal()

    def refusal(self) -> str | None:
        with self._in_place():
            return self._disk.refusal()

    def close(self) -> None:
        self._folder.close()

    def _directory(self, tenant_id: str) -> Path:
        if not is_tenant_id(tenant_id):
            raise ValueError(f"not a tenant id: {tenant_id!r}")
        return self._path / tenant_id

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        try:
            self._folder.demand_in_place()
            yield
        except OSError as error:
            raise RetrievalUnavailable(
                "the vector store does not answer",
                detail=f"CHROMA_PATH={self._path}: {error.strerror}",
                retry_after=RETRY_SECONDS,
            ) from error


_Identity: TypeAlias = tuple[int, ...]


def _identity(file: Path) -> _Identity:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remove_what_nobody_names(directory: Path, record: Record) -> None:
    """Snapshots that a process was making, or had just made, when it ended: nobody goes on with them."""
    named = record.snapshots.file_names()
    found = [*directory.glob(f"{UNFINISHED_SNAPSHOT}*"), *directory.glob(f"*{SNAPSHOT_SUFFIX}")]
    for file in found:
        if file.name not in named:
            with suppress(OSError):  # of a disk that is read-only they harm nobody
                file.unlink()


def _left_by_another(database: Path) -> _Identity | None:
    """How the last process that closed the cell left its file; None if that is not known."""
    try:
        return tuple(json.loads(database.with_name(CELL_MARK).read_text())["database"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holds_cell(directory: Path, tenant_id: str) -> bool:
    """Whether the directory holds a cell: its database, which Chroma would otherwise quietly begin anew.

    Raises:
        StoreDamaged: if the database is gone or empty, but what else a cell consists of is there.
    """
    try:
        entries = {entry.name: entry.stat().st_size for entry in os.scandir(directory)}
    except FileNotFoundError:
        return False
    if entries.pop(DATABASE_FILE, 0) > 0:
        return True
    if entries:
        raise damaged(
            tenant_id, f"{directory / DATABASE_FILE} is missing or empty, beside {len(entries)} other entries"
        )
    return False
