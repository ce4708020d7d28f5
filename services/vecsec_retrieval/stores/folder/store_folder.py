"""What CHROMA_PATH names: a store, a place where one may begin, or neither.

Each refusal is one line that says what to do. Nothing is made or changed here: it may be asked beside a running
service.
"""

import os
import pwd
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.process.file_systems import network_file_system
from vecsec_retrieval.stores.folder.disk import LOCK_FILE, demand_usable
from vecsec_retrieval.stores.folder.store_identity import IDENTITY_FILE, StoreIdentity, new_identity, read_identity

_DATABASE = "chroma.sqlite3"
"""As `record.DATABASE_FILE`, whose module waits for ChromaDB."""
CELL_MARK = ".vecsec"
"""A cell's directory holds this file, so that it is known for one even if its database is gone. It says how that was
left: inode, size and times, which change with whatever is done to it."""

_OURS = (LOCK_FILE, IDENTITY_FILE, ".aside", ".making-", ".taking-over-")
"""How names begin that a store may hold beside its cells."""
_OF_THE_FILE_SYSTEM = frozenset({"lost+found"})
_NAMED_AT_MOST = 3
_TIME_TO_BEGIN = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder that bears no store's identity."""

    cells: dict[str, str | None]
    """Tenants with a cell, and the store whose id that bears."""
    others: tuple[str, ...]
    """What is no store's."""
    was_used: bool
    """Whether VecSec has had it for a store before."""


def demand_store(folder: Path, *, may_be_new: bool, shard: str | None = None) -> StoreIdentity:
    """The identity of the store in the folder, or the one that it is to have; `shard` is what this service is.

    Raises:
        ConfigurationError: if no store can be there, none is there and none may begin, it cannot be used, or it is
            another shard's.
    """
    _refuse_network(folder)
    _refuse_others_property(folder)
    demand_usable(folder)
    try:
        identity = read_identity(folder)
        if identity is not None:
            _refuse_other_shard(folder, identity, shard)
        return identity or _decide(folder, _found(folder), may_be_new=may_be_new)
    except OSError as error:
        raise ConfigurationError(
            f"CHROMA_PATH: {folder} cannot be read ({error.strerror}); give it to the user of this service"
        ) from error


def _refuse_other_shard(folder: Path, identity: StoreIdentity, shard: str | None) -> None:
    if identity.shard is None or identity.shard == shard:
        return
    if shard is None:
        raise ConfigurationError(
            f"CHROMA_PATH: the store at {folder} is shard {identity.shard!r} of a placement; set VECSEC_SHARD and "
            "VECSEC_PLACEMENT_FILE, for others may hold tenants too"
        )
    raise ConfigurationError(
        f"CHROMA_PATH: the store at {folder} is shard {identity.shard!r}, and VECSEC_SHARD is {shard!r}; "
        "mount that shard's own disk"
    )


def _decide(folder: Path, found: Found, *, may_be_new: bool) -> StoreIdentity:
    """What a folder without identity becomes."""
    if found.others and not found.was_used:
        named = ", ".join(found.others[:_NAMED_AT_MOST])
        more = len(found.others) - _NAMED_AT_MOST
        raise ConfigurationError(
            f"CHROMA_PATH: {folder} is no store of VecSec's and holds other things ({named}"
            f"{f' and {more} more' if more > 0 else ''}); name a folder of its own"
        )
    stores = {store_id for store_id in found.cells.values() if store_id is not None}
    if len(stores) > 1:
        raise ConfigurationError(
            f"CHROMA_PATH: {folder} holds cells of {len(stores)} stores, and its {IDENTITY_FILE} is gone; "
            "put that back from a backup of the store"
        )
    if stores and not may_be_new:
        raise ConfigurationError(
            f"CHROMA_PATH: the list of cells of the store at {folder} ({IDENTITY_FILE}) is gone; put it back from a "
            f"backup, or, if no cell is missing beside the {len(found.cells)} that are there, {_begin()}"
        )
    if not found.cells and not may_be_new:
        raise ConfigurationError(
            f"CHROMA_PATH: {folder} holds no store; if there was one, mount it or put it back from a backup; "
            f"to begin a new one, {_begin()}"
        )
    return new_identity(found.cells, next(iter(stores), None))


def _found(folder: Path) -> Found:
    cells, others, was_used = dict[str, str | None](), list[str](), False
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_tenant_id(entry.name) and ((entry / _DATABASE).exists() or (entry / CELL_MARK).exists()):
            cells[entry.name] = _store_of(entry)
        elif entry.name == LOCK_FILE:
            was_used = True
        elif not entry.name.startswith(_OURS) and entry.name not in _OF_THE_FILE_SYSTEM:
            others.append(entry.name)
    return Found(cells, tuple(others), was_used)


def _store_of(cell: Path) -> str | None:
    """The store whose id the cell bears; None if it bears none, or cannot be read: that is said when it is opened."""
    location = f"file:{quote(str((cell / _DATABASE).absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(location, uri=True)) as database:
            found = database.execute("SELECT value FROM vecsec_cell WHERE key = 'store_id'").fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(found[0])


def _begin() -> str:
    soon = datetime.now(UTC) + _TIME_TO_BEGIN
    return f"set VECSEC_NEW_STORE_UNTIL to a time soon, such as {soon:%Y-%m-%dT%H:00Z}, and start again"


def _refuse_network(folder: Path) -> None:
    kind = network_file_system(folder)
    if kind is not None:
        raise ConfigurationError(
            f"CHROMA_PATH: {folder} is on a network file system ({kind}), whose locks a store cannot rely on; name a "
            "folder on a disk of this machine, or use a ChromaDB server (CHROMA_CONNECTION_STRING)"
        )


def _refuse_others_property(folder: Path) -> None:
    """Refuse a store whose owner could not use any more what this process, as root or by file modes, would write."""
    for name in (IDENTITY_FILE, LOCK_FILE):
        try:
            owner = (folder / name).stat().st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            raise ConfigurationError(
                f"CHROMA_PATH: the store at {folder} belongs to {_user(owner)}, and this service runs as "
                f"{_user(os.geteuid())}; run it as that user, or give all of it to this one (chown -R)"
            )
        return


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
