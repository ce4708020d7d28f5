"""The files below a folder, or one file, in an order that stays the same; what is left out is said."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from vecsec_cli.importing.formats import kind_of
from vecsec_cli.importing.records import SourceError
from vecsec_cli.importing.trees.listing import TreeListing


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """Which files of a tree are taken."""

    hidden: bool = False
    """Also files and folders whose name begins with a dot."""
    symlinks: bool = False
    """Also what symbolic links lead to."""
    exclude: tuple[str, ...] = ()
    """Patterns of names, or of paths below the folder, that are left out on purpose."""
    own_state: Path | None = None
    """The state directory of `vecsec up`: keys, tokens and stores are no documents, whatever the other options say."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a tree."""

    path: Path
    identifier: str
    """Its path below the folder, with `/`; of a single file, its name."""


LeftOut = Callable[[str, str, str, bool], None]
"""Hears kind, reason, name and whether it was asked for."""

HIDDEN = "hidden; --hidden reads it"
LINK = "a symbolic link; --symlinks follows it"


def files_of(
    root: Path, options: TreeOptions, left_out: LeftOut, listing: TreeListing | None = None
) -> Iterator[Found]:
    """The files, in the order of their paths; the listing is told of each folder that was listed, and of each file.

    Raises:
        SourceError: if the folder itself cannot be read.
    """
    if not root.is_dir():
        yield Found(root, root.name)
        return
    try:
        status = root.stat()
        yield from _Walk(options, left_out, listing or TreeListing()).below(root, "", ((status.st_dev, status.st_ino),))
    except OSError as error:
        raise SourceError(f"cannot read {root}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Walk:
    options: TreeOptions
    left_out: LeftOut
    listing: TreeListing

    def below(self, folder: Path, prefix: str, parents: tuple[tuple[int, int], ...]) -> Iterator[Found]:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        self.listing.add_folder(prefix, names)
        for name in names:
            yield from self._entry(folder / name, f"{prefix}{name}", parents)

    def _entry(self, path: Path, identifier: str, parents: tuple[tuple[int, int], ...]) -> Iterator[Found]:
        try:
            mode = path.lstat().st_mode
            kind = "(folder)" if stat.S_ISDIR(mode) else "(link)" if stat.S_ISLNK(mode) else kind_of(path.name)
            if self._is_refused(path.name, identifier, kind, is_link=stat.S_ISLNK(mode)):
                return
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                me = (status.st_dev, status.st_ino)
                if self._is_own_state(path):
                    self.left_out(kind, "VecSec's own state", identifier, True)
                    return
                if me in parents:
                    self.left_out(kind, "a link to a folder that it lies in", identifier, False)
                    return
                yield from self.below(path, f"{identifier}/", (*parents, me))
            elif stat.S_ISREG(status.st_mode):
                self.listing.add_file(identifier)
                yield Found(path, identifier)
            else:
                self.left_out(kind, "neither a file nor a folder", identifier, False)
        except FileNotFoundError:
            self.left_out("(link)", "leads to nothing", identifier, False)
        except OSError as error:
            self.left_out(kind_of(path.name), f"cannot be read: {error.strerror}", identifier, False)

    def _is_own_state(self, path: Path) -> bool:
        own = self.options.own_state
        return own is not None and own.exists() and path.samefile(own)

    def _is_refused(self, name: str, identifier: str, kind: str, *, is_link: bool) -> bool:
        if any(fnmatch(name, pattern) or fnmatch(identifier, pattern) for pattern in self.options.exclude):
            self.left_out(kind, "--exclude", identifier, True)
        elif name.startswith(".") and not self.options.hidden:
            self.left_out(kind, HIDDEN, identifier, False)
        elif is_link and not self.options.symlinks:
            self.left_out(kind, LINK, identifier, False)
        else:
            return False
        return True
