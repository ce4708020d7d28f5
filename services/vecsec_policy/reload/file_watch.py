"""Sees that files changed, and waits until they have come to rest.

Files are looked at several times a second rather than watched by inotify: this sees renames, symlinks swapped at any
level (as Kubernetes does for ConfigMaps), folders replaced and network file systems alike, costs some microseconds a
look, and a change must be looked at twice anyway, lest a folder be read while somebody saves its files.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

POLL_SECONDS = 0.25

Fingerprint: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
"""What is seen of files: name, change and modification time, size and inode of each that is there."""

POLICY_SUFFIXES = (".cedar", ".cedarschema", ".yaml", ".yml", ".json")


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


def folder_fingerprint(folder: Path, suffixes: tuple[str, ...] = POLICY_SUFFIXES) -> Fingerprint:
    """What is seen of a folder's files with these suffixes."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffixes))  # noqa: PTH208 (names)
    except OSError:
        return ()
    return files_fingerprint(folder / name for name in names)


class AtRest:
    """Tells of a change once what it looks at was the same twice in a row."""

    def __init__(self, look: Callable[[], Fingerprint], *, rest_seconds: float = POLL_SECONDS) -> None:
        """Take what is there now as known: make this before the files are read for the first time.

        Something is at rest if it is the same after `rest_seconds`; fewer will do where reading takes long, for at the
        end of that it is looked at again (see `settle`).
        """
        self._rest_seconds = rest_seconds
        self._look = look
        self._seen = look()
        self._known: Fingerprint | None = self._seen

    async def change(self) -> Fingerprint | None:
        """Look; what is there now, if it is not known and was the same at the last look."""
        before, self._seen = self._seen, await asyncio.to_thread(self._look)
        if self._seen not in (before, self._known):
            await asyncio.sleep(self._rest_seconds)
            before, self._seen = self._seen, await asyncio.to_thread(self._look)
        return self._seen if self._seen == before and self._seen != self._known else None

    def forget(self) -> None:
        """Take what is there for a change, though nothing of it may have changed."""
        self._known = None

    async def settle(self, change: Fingerprint) -> bool:
        """Look again after a change was read: if all is as it was, it is known from now on; if not, what was read may
        be half of two versions, and the change will be told again."""
        self._seen = await asyncio.to_thread(self._look)
        if self._seen != change:
            return False
        self._known = change
        return True
