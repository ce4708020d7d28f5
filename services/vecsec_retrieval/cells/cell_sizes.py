"""How much the cells of an embedded store hold and take."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

_BLOCK_BYTES = 512
"""What `st_blocks` counts."""

_Written: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ShardSize:
    """Of all cells together."""

    tenants: int = 0
    rows: int = 0
    bytes: int = 0
    """On the disk."""


class CellSizes:
    """Measures; rows are counted again only where something was written since. Used on the event loop."""

    def __init__(
        self, folder: Path, tenants: Callable[[], Collection[str]], count_rows: Callable[[str], Awaitable[int]]
    ) -> None:
        """`folder` holds the cells of `tenants`."""
        self._folder = folder
        self._tenants = tenants
        self._count_rows = count_rows
        self._counted: dict[str, tuple[_Written, int]] = {}
        self._turn = asyncio.Lock()

    async def measure(self) -> ShardSize:
        """As it is now; a cell that goes meanwhile counts for nothing."""
        async with self._turn:  # whoever asks often gets no more work done
            tenants = sorted(self._tenants())
            found = await asyncio.to_thread(self._look, tenants)
            counted = {}
            for tenant_id, (written, _) in found.items():
                known = self._counted.get(tenant_id)
                is_known = known is not None and known[0] == written
                counted[tenant_id] = known if known and is_known else (written, await self._count_rows(tenant_id))
            self._counted = counted
        rows = sum(count for _, count in counted.values())
        return ShardSize(len(tenants), rows, sum(taken for _, taken in found.values()))

    def _look(self, tenants: Collection[str]) -> dict[str, tuple[_Written, int]]:
        """When each cell was written to, and its bytes. Files are looked at, not opened."""
        found = {}
        for tenant_id in tenants:
            newest, total = _look_below(self._folder / tenant_id)
            if total:
                found[tenant_id] = (newest, total), total
        return found


def _look_below(folder: Path) -> tuple[int, int]:
    """The time of the latest change, and the bytes of all files."""
    newest = total = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0, 0
    for entry in entries:
        try:
            if entry.is_dir():
                changed, size = _look_below(Path(entry.path))
            else:
                status = entry.stat()
                changed, size = status.st_mtime_ns, status.st_blocks * _BLOCK_BYTES
        except OSError:
            continue
        newest, total = max(newest, changed), total + size
    return newest, total
