"""What an import may delete of files that are gone, and when it had better ask."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from vecsec_cli.importing.trees.listing import TreeListing


class Prune(Enum):
    """What becomes of passages of files that a folder has no more."""

    NOTHING = auto()
    GONE = auto()
    """They are deleted, unless it looks as if the folder were another one, or a volume were not there."""
    ALL_GONE = auto()
    """They are deleted, however many they are."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be done."""

    files: Sequence[str] = ()
    """Whose passages go."""
    refused: str = ""
    """Why none are deleted, though some are gone; empty otherwise."""


def pruning_of(prune: Prune, listing: TreeListing, candidates: Collection[str], stored_count: int) -> Pruning:
    """Which of these files, of all that are stored, are gone: those alone that a folder which was listed in this run
    does not have."""
    if prune is Prune.NOTHING:
        return Pruning()
    gone = [file for file in candidates if listing.is_missing(file)]
    if not gone or prune is Prune.ALL_GONE:
        return Pruning(gone)
    what = f"passages of {len(gone):,} of {stored_count:,} files would go"
    if not listing.has_files:
        return Pruning(refused=f"the folder has no file at all, and {what}; --prune-all deletes them")
    if 2 * len(gone) > stored_count:
        return Pruning(refused=f"{what}, more than half; --prune-all deletes them")
    return Pruning(gone)
