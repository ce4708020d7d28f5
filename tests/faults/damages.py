"""What can happen to the files of a cell."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from faults.examiner import OTHER
from faults.extent import MANY
from faults.plan import State

from vecsec_retrieval.stores.embedded.record import DATABASE_FILE
from vecsec_retrieval.visibility.tagging import LABEL_KEY

FLIPPED_BYTES = 20
ANYWHERE = 12 if MANY else 2
"""So many places are drawn where bytes are flipped."""
SNAPSHOT_PLACES = (0.0, 0.3, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_PAGE = 4096
_TREES = (
    "embeddings_queue",
    "vecsec_log",
    "vecsec_cell",
    "vecsec_snapshot",
    "embeddings_queue_config",
    "collections",
    "collection_metadata",
    "segments",
    "max_seq_id",
    "embeddings",
    "embedding_metadata",
    "embedding_fulltext_search_data",
)

Damage = Callable[[Path, State], None]
"""Done to the folder of a cell that holds this."""


def _flip(database: Path, offset: int) -> None:
    content = bytearray(database.read_bytes())
    for position in range(offset, offset + FLIPPED_BYTES):
        content[position] ^= 0xFF
    database.write_bytes(content)


def _flip_at(offset: int, cell: Path, state: State) -> None:
    _flip(cell / DATABASE_FILE, offset)


def _flip_anywhere(seed: int, cell: Path, state: State) -> None:
    size = (cell / DATABASE_FILE).stat().st_size
    _flip(cell / DATABASE_FILE, random.Random(seed).randrange(size - FLIPPED_BYTES))


def _flip_root(tree: str, cell: Path, state: State) -> None:
    """The first page of a table or an index."""
    _flip(cell / DATABASE_FILE, _root(cell, tree) * _PAGE)


def _flip_leaf(tree: str, cell: Path, state: State) -> None:
    """Entries of the last leaf below a table's or an index's first page, at its end, where keys are."""
    content = (cell / DATABASE_FILE).read_bytes()
    page = _root(cell, tree)
    while content[page * _PAGE] in {2, 5}:
        page = int.from_bytes(content[page * _PAGE + 8 : page * _PAGE + 12]) - 1
    _flip(cell / DATABASE_FILE, (page + 1) * _PAGE - FLIPPED_BYTES - 30)


def _root(cell: Path, tree: str) -> int:
    with closing(sqlite3.connect(cell / DATABASE_FILE)) as database:
        [root] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (tree,)).fetchone()
    return int(root) - 1


def _flip_vector(cell: Path, state: State) -> None:
    row = list(state["collection-0"].values())[7]
    assert row.embedding is not None
    _flip(cell / DATABASE_FILE, _places(cell, row.embedding.tobytes()[:FLIPPED_BYTES])[0])


def _flip_text(cell: Path, state: State) -> None:
    text = list(state["collection-0"].values())[11].text.encode()
    _flip(cell / DATABASE_FILE, _places(cell, text[:30])[0])


def _change_label(place: int, cell: Path, state: State) -> None:
    """A row's label becomes another, wherever it stands."""
    key = str(list(state["collection-0"].values())[13].metadata[LABEL_KEY]).encode()
    content = bytearray((cell / DATABASE_FILE).read_bytes())
    places = _places(cell, key)
    where = places[place * (len(places) - 1) // 4]
    content[where : where + FLIPPED_BYTES] = key[:FLIPPED_BYTES][::-1]
    (cell / DATABASE_FILE).write_bytes(content)


def _change_tables(statement: str, cell: Path, state: State) -> None:
    """What ChromaDB looks things up in says something else than the log, and no page of it is broken."""
    with closing(sqlite3.connect(cell / DATABASE_FILE, isolation_level=None)) as database:
        assert database.execute(statement).rowcount > 0


def _places(cell: Path, wanted: bytes) -> list[int]:
    content, places, start = (cell / DATABASE_FILE).read_bytes(), list[int](), -1
    while (start := content.find(wanted, start + 1)) >= 0:
        places.append(start)
    return places


def _truncate(share: float, cell: Path, state: State) -> None:
    os.truncate(cell / DATABASE_FILE, int((cell / DATABASE_FILE).stat().st_size * share))


def _remove(cell: Path, state: State) -> None:
    (cell / DATABASE_FILE).unlink()


def _remove_mark(cell: Path, state: State) -> None:
    (cell / ".vecsec").unlink()


def _take_others(cell: Path, state: State) -> None:
    shutil.copy(cell.parent / OTHER / DATABASE_FILE, cell / DATABASE_FILE)


def _write_beside(suffix: str, cell: Path, state: State) -> None:
    (cell / f"{DATABASE_FILE}{suffix}").write_bytes(random.Random(1).randbytes(50_000))


def _fill_index_folders(cell: Path, state: State) -> None:
    for segment in _segments(cell):
        (cell / segment).mkdir(exist_ok=True)
        for name in ("data_level0.bin", "header.bin", "index_metadata.pickle", "length.bin", "link_lists.bin"):
            (cell / segment / name).write_bytes(random.Random(name).randbytes(10_000))


def _files_for_index_folders(cell: Path, state: State) -> None:
    for segment in _segments(cell):
        shutil.rmtree(cell / segment, ignore_errors=True)
        (cell / segment).write_bytes(b"not a folder")


def _snapshot(cell: Path) -> Path:
    return max(cell.glob("*.rows"), key=lambda file: file.stat().st_size)


def _flip_snapshot(place: float, cell: Path, state: State) -> None:
    file = _snapshot(cell)
    _flip(file, int((file.stat().st_size - FLIPPED_BYTES) * place))


def _truncate_snapshot(share: float, cell: Path, state: State) -> None:
    os.truncate(_snapshot(cell), int(_snapshot(cell).stat().st_size * share))


def _remove_snapshots(cell: Path, state: State) -> None:
    for file in cell.glob("*.rows"):
        file.unlink()


def _take_others_snapshot(cell: Path, state: State) -> None:
    shutil.copy(_snapshot(cell.parent / OTHER), _snapshot(cell))


def _segments(cell: Path) -> list[str]:
    with closing(sqlite3.connect(cell / DATABASE_FILE)) as database:
        return [segment for (segment,) in database.execute("SELECT id FROM segments WHERE scope = 'VECTOR'")]


DAMAGES: dict[str, Damage] = {
    "bytes flipped in the header": partial(_flip_at, 0),
    "bytes flipped in the header's counts": partial(_flip_at, 24),
    "bytes flipped in the schema": partial(_flip_at, 3_000),
    **{f"bytes flipped in the first page of {tree}": partial(_flip_root, tree) for tree in _TREES},
    **{f"bytes flipped in a leaf of {tree}": partial(_flip_leaf, tree) for tree in _TREES},
    **{f"bytes flipped anywhere, {seed}": partial(_flip_anywhere, seed) for seed in range(ANYWHERE)},
    "bytes flipped in a vector": _flip_vector,
    "bytes flipped in a text": _flip_text,
    **{f"a label is another, place {place}": partial(_change_label, place) for place in range(5)},
    "ChromaDB's tables hold rows of nobody": partial(
        _change_tables,
        "INSERT INTO embeddings (segment_id, embedding_id, seq_id) SELECT id, 'nobody', 1 FROM segments",
    ),
    "ChromaDB's segments lack what is in the log": partial(_change_tables, "UPDATE max_seq_id SET seq_id = 1"),
    **{f"truncated to {share:.4f}": partial(_truncate, share) for share in (0.9999, 0.9, 0.5, 0.01, 0.0)},
    **{f"bytes flipped in a snapshot at {place}": partial(_flip_snapshot, place) for place in SNAPSHOT_PLACES},
    **{f"snapshot truncated to {share}": partial(_truncate_snapshot, share) for share in (0.9999, 0.5, 0.0)},
    "snapshots removed": _remove_snapshots,
    "another tenant's snapshot": _take_others_snapshot,
    "what is said of snapshots is another": partial(
        _change_tables, "UPDATE vecsec_snapshot SET position = position + 40"
    ),
    "removed": _remove,
    "mark removed": _remove_mark,
    "another tenant's": _take_others,
    "a journal of garbage": partial(_write_beside, "-journal"),
    "a write-ahead log of garbage": partial(_write_beside, "-wal"),
    "index folders of garbage": _fill_index_folders,
    "files for index folders": _files_for_index_folders,
}
