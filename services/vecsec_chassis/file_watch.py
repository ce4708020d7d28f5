"""Sees that files changed, and waits until they have come to rest.

Files are looked at several times a second rather than watched by inotify: this sees renames, symlinks swapped at any
level (as Kubernetes does for ConfigMaps), folders replaced and network file systems alike, costs some microseconds a
look, and a change must be looked at twice anyway, lest files be read while somebody saves them.

What is seen of a small file is its content, of many files a fingerprint: see `SettledChanges`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from vecsec_chassis.domain.errors import ConfigurationError

POLL_SECONDS = 0.25

Seen = TypeVar("Seen")

Fingerprint: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
"""What is seen of files: name, change and modification time, size and inode of each that is there."""


def files_fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """What is seen of some files, following symlinks; a file that cannot be looked at is taken for missing."""
    seen = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        # The change time too: no program can set it, so that not even a file of the same size and age goes unnoticed.
        seen.append((str(path), status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(seen)


def folder_fingerprint(folder: Path, suffixes: tuple[str, ...]) -> Fingerprint:
    """What is seen of a folder's files with these suffixes."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffixes))  # noqa: PTH208 (names)
    except OSError:
        return ()
    return files_fingerprint(folder / name for name in names)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What stands in a file: `content` if it was read, `problem` if it is there but cannot be read; else it is not."""

    content: bytes | None = field(default=None, repr=False)
    problem: str | None = None


def file_content(path: Path) -> FileContent:
    """Read a file; never raises for what an operator may do to it."""
    try:
        return FileContent(content=path.read_bytes())
    except FileNotFoundError:
        return FileContent()
    except OSError as error:
        return FileContent(problem=error.strerror or type(error).__name__)


def demand_content(path: Path, where: str) -> bytes:
    """Read a file that a setting names; `where` says in the error which setting and file that are.

    Raises:
        ConfigurationError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{where}: {error.strerror}; name a file that this service may read") from error


class SettledChanges(Generic[Seen]):
    """Tells of a change once what it looks at was the same twice in a row."""

    def __init__(self, look: Callable[[], Seen], *, rest_seconds: float = POLL_SECONDS) -> None:
        """Take what is there now as known: make this before the files are read for the first time.

        Something is at rest if it is the same after `rest_seconds`; fewer will do where reading takes long, for at the
        end of that it is looked at again (see `settle`).
        """
        self._rest_seconds = rest_seconds
        self._look = look
        self._seen = look()
        self._known: Seen | None = self._seen

    async def change(self) -> Seen | None:
        """Look; what is there now, if it is not known and was the same at the last look."""
        before, self._seen = self._seen, await asyncio.to_thread(self._look)
        if self._seen not in (before, self._known):
            await asyncio.sleep(self._rest_seconds)
            before, self._seen = self._seen, await asyncio.to_thread(self._look)
        return self._seen if self._seen == before and self._seen != self._known else None

    async def changed_content(self) -> Seen | None:
        """The same where a look sees all there is to read: it is known from now on, good or bad."""
        change = await self.change()
        if change is not None:
            self._known = change
        return change

    def forget(self) -> None:
        """Take what is there for a change, though nothing of it may have changed."""
        self._known = None

    async def settle(self, change: Seen) -> bool:
        """Look again after a change was read: if all is as it was, it is known from now on; if not, what was read may
        be half of two versions, and the change will be told again."""
        self._seen = await asyncio.to_thread(self._look)
        if self._seen != change:
            return False
        self._known = change
        return True


async def keep_looking(look: Callable[[], Awaitable[object]]) -> None:
    """Look for ever."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        await look()
