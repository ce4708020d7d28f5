"""Prints which source files one warm search visits, in all three services: `PYTHONPATH=tests python -m bench.rooms`.

A file counts if any of its functions runs in each of several searches; what beats beside them (watches, health) is left
out that way. What only looks on (telemetry, metrics, composition roots' clocks) is listed apart: neither request nor
answer goes through it. The services run in one process, in their production wiring.
"""

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from support.stack import Stack, document, running_stack

import vecsec_chassis

_SERVICES = Path(vecsec_chassis.__file__).parent.parent
_SEARCHES = 8


async def _visits_of_searches(stack: Stack) -> list[Counter[Path]]:
    token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")
    await stack.load("tenant_a", *(document(f"d{n}", f"campaign number {n}") for n in range(50)))
    for number in range(5):  # warm: lanes open, collection in memory, plan remembered
        await stack.search(token, "tenant_a", f"warm {number}")
        await asyncio.sleep(0.2)
    visits = []
    for number in range(_SEARCHES):
        with _visited() as visited:
            await stack.search(token, "tenant_a", f"question {number}")
        visits.append(visited)
    return visits


@contextmanager
def _visited() -> Iterator[Counter[Path]]:
    visited: Counter[Path] = Counter()

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and (path := Path(frame.f_code.co_filename)).is_relative_to(_SERVICES):
            visited[path.relative_to(_SERVICES)] += 1

    threading.setprofile_all_threads(profile) if sys.version_info >= (3, 12) else threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield visited
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def main() -> None:
    """Print the rooms."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_stack(Path(folder)) as stack:
            visits = await _visits_of_searches(stack)
    rooms = set.intersection(*(set(visited) for visited in visits))
    calls = {room: sum(visited[room] for visited in visits) / len(visits) for room in rooms}
    for room in sorted(rooms, key=lambda room: (_looks_on(room), room)):
        print(f"{calls[room]:6.0f} calls  {room}{'  (looks on)' if _looks_on(room) else ''}")
    on_the_way = sum(not _looks_on(room) for room in rooms)
    print(f"{on_the_way} files on the way, {len(rooms)} in all, {sum(calls.values()):.0f} calls a search")


def _looks_on(room: Path) -> bool:
    return "telemetry" in room.parts or room.stem in {"metrics", "app"}


if __name__ == "__main__":
    asyncio.run(main())
