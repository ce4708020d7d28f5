"""How an embedded store knows itself: a file at its root with its id, its format, and the cells that it has.

Each cell bears the id as well. So it is seen if a cell's folder is gone, if one is another store's, and if there is no
store where one should be. The file is replaced in one synced step.
"""

import json
import os
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.process.writable_folders import sync_folder

IDENTITY_FILE = ".vecsec-store.json"
STORE_FORMAT = 1
_NEW = f"{IDENTITY_FILE}.new"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What the file says."""

    store_id: str
    cells: frozenset[str]
    """Tenants whose cell was made, or taken into the store."""
    shard: str | None = None
    """Which shard the store is; None where it was never one."""
    placement_epoch: int = 0
    """The highest epoch of a placement that the shard went by."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """Since which epoch cells are this shard's, as they say themselves; those that are not here: since before there was
    a placement."""
    known_shards: frozenset[str] = frozenset()
    """All shards of that placement."""


def new_identity(cells: Iterable[str] = (), store_id: str | None = None) -> StoreIdentity:
    """That of a store which has none yet, with these cells."""
    return StoreIdentity(store_id or secrets.token_hex(16), frozenset(cells))


def read_identity(folder: Path) -> StoreIdentity | None:
    """The identity of the store in the folder; None if it has none.

    Raises:
        ConfigurationError: if it cannot be read, or is of a newer format.
    """
    file = folder / IDENTITY_FILE
    try:
        fields = json.loads(file.read_bytes())
        found, store_id, cells = int(fields["format"]), str(fields["store_id"]), frozenset(map(str, fields["cells"]))
        shard, placement_epoch = fields.get("shard"), int(fields.get("placement_epoch", 0))
        epochs = {str(name): int(epoch) for name, epoch in fields.get("epochs", {}).items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"CHROMA_PATH: {file} cannot be read ({error.strerror}); {_GIVE}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"CHROMA_PATH: {file} is damaged; put it back from a backup of this store") from error
    if found > STORE_FORMAT:
        raise ConfigurationError(
            f"CHROMA_PATH: the store at {folder} was written by a newer version of VecSec "
            f"(format {found}, known is {STORE_FORMAT}); start that one"
        )
    known = frozenset(map(str, fields.get("known_shards", ())))
    return StoreIdentity(store_id, cells, None if shard is None else str(shard), placement_epoch, epochs, known)


_GIVE = "give it to the user of this service"


def write_identity(folder: Path, identity: StoreIdentity) -> None:
    """Have this identity on the disk, or the one before.

    Raises:
        OSError: if it cannot be written; then it is the one before.
    """
    fields: dict[str, object] = {
        "format": STORE_FORMAT,
        "store_id": identity.store_id,
        "cells": sorted(identity.cells),
    }
    if identity.shard is not None:
        fields |= {
            "shard": identity.shard,
            "placement_epoch": identity.placement_epoch,
            "epochs": dict(sorted(identity.epochs.items())),
            "known_shards": sorted(identity.known_shards),
        }
    new = folder / _NEW
    with new.open("w", encoding="ascii") as file:
        new.chmod(0o600)
        if os.geteuid() == 0:  # an operator's command, perhaps: the service must be able to read it
            owner = folder.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        json.dump(fields, file, indent=0)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / IDENTITY_FILE)
    sync_folder(folder)


class ListedCells:
    """The list of a store's cells, while the store is open. Usable from several threads."""

    def __init__(self, folder: Path, identity: StoreIdentity, *, is_on_disk: bool) -> None:
        """`is_on_disk` says whether the identity is written already."""
        self._folder = folder
        self._identity = identity
        self.is_on_disk = is_on_disk
        """Whether the next process will find the same id."""
        self._turn = threading.Lock()
        self._epochs: tuple[StoreIdentity | None, Mapping[str, int]] = None, {}

    @property
    def store_id(self) -> str:
        """The id of the store."""
        return self._identity.store_id

    @property
    def lasting_store_id(self) -> str:
        """The same, once the next process will find it; empty before. Others remember no other."""
        return self._identity.store_id if self.is_on_disk else ""

    def __contains__(self, tenant_id: str) -> bool:
        return tenant_id in self._identity.cells

    @property
    def placement_epoch(self) -> int:
        """The highest epoch of a placement that this shard went by."""
        return self._identity.placement_epoch

    def epochs(self) -> Mapping[str, int]:
        """All cells, and since which epoch they are this shard's."""
        identity, (of, epochs) = self._identity, self._epochs
        if of is not identity:  # put together once for each change of what may be tens of thousands
            epochs = {name: identity.epochs.get(name, 0) for name in identity.cells}
            self._epochs = identity, epochs
        return epochs

    def epoch(self, tenant_id: str) -> int | None:
        """Since which epoch the tenant's cell is this shard's; None if there is none."""
        identity = self._identity
        return identity.epochs.get(tenant_id, 0) if tenant_id in identity.cells else None

    @property
    def known_shards(self) -> frozenset[str]:
        """All shards of the last placement that this shard went by."""
        return self._identity.known_shards

    def note_placement(self, shard: str, epoch: int, known_shards: Collection[str] = ()) -> None:
        """Have it on the disk that this shard goes by a placement of this epoch, and begins nothing by an older one
        again; these are its shards.

        Raises:
            OSError: if it cannot be written.
        """
        with self._turn:
            identity = self._identity
            if identity.placement_epoch > epoch:
                return
            newer = replace(identity, shard=shard, placement_epoch=epoch, known_shards=frozenset(known_shards))
            if newer == identity and self.is_on_disk:
                return
            write_identity(self._folder, newer)
            self._identity, self.is_on_disk = newer, True

    def add(self, tenant_id: str, *, epoch: int = 0, if_possible: bool = False) -> None:
        """Have the tenant's cell on the list, on the disk too. Before this, nothing of the cell is acknowledged.

        Where the disk takes no writes, nothing can be acknowledged either; then a cell is read all the same.

        Raises:
            OSError: if it cannot be written, and must be.
        """
        with self._turn:
            if self.is_on_disk and self.epoch(tenant_id) == epoch:
                return
            longer = replace(
                self._identity,
                cells=self._identity.cells | {tenant_id},
                epochs={**self._identity.epochs, tenant_id: epoch} if epoch else self._identity.epochs,
            )
            try:
                write_identity(self._folder, longer)
            except OSError:
                if not if_possible:
                    raise
                return
            self._identity, self.is_on_disk = longer, True
