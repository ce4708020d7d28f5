"""Compares all that can be asked of a cell with what must be there, bit for bit."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from faults.in_memory import wrong_in_memory
from faults.plan import State, info

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.visibility.tagging import LABEL_KEY

ROWS_A_CALL = 1_000
NEAREST = 10


Question = Callable[[], Iterator[str]]
"""Asks, and says in words where the answer is another than it must be; raises VecSecError as the cell does."""


def differences(cell: EmbeddedCell, state: State) -> Iterator[str]:
    """Where the cell answers something else than it must, in words."""
    return (difference for _, question in questions(cell, state) for difference in question())


def questions(cell: EmbeddedCell, state: State) -> Iterator[tuple[str, Question]]:
    """All that can be asked, each with a name."""
    yield "collections", partial(_of_collections, cell, state)
    for collection_id, rows in state.items():
        for name, question in _of_collection(cell, collection_id, rows):
            yield f"{name} of {collection_id}", question


def _of_collections(cell: EmbeddedCell, state: State) -> Iterator[str]:
    found = {each.collection_id: each for each in cell.collections()}
    if found != {collection_id: info(collection_id) for collection_id in state}:
        yield f"collections: {sorted(found)} instead of {sorted(state)}"
    for collection_id in state:
        if cell.find_collection(collection_id) != info(collection_id):
            yield f"collection {collection_id} is not what it was made"


def _of_collection(
    cell: EmbeddedCell, collection_id: str, rows: Mapping[str, StoredRow]
) -> Iterator[tuple[str, Question]]:
    by_label = defaultdict(set)
    for document_id, row in rows.items():
        by_label[str(row.metadata[LABEL_KEY])].add(document_id)
    yield "all ids", lambda: _of_ids("all ids", cell.find_ids(collection_id, RowCondition()), rows)
    for label_key, ids in by_label.items():
        yield "ids of a label", partial(_of_label, cell, collection_id, label_key, ids)
    wanted = list(rows)
    for start in range(0, len(wanted), ROWS_A_CALL):
        page = {document_id: rows[document_id] for document_id in wanted[start : start + ROWS_A_CALL]}
        yield "rows", partial(_of_page, cell, collection_id, page)
    yield "rows of the log", lambda: _of_rows("rows of the log", _rows_of_log(cell, collection_id), rows)
    yield "rows in memory", lambda: wrong_in_memory(cell, collection_id, rows)
    for document_id in wanted[:: max(1, len(wanted) // 3)]:
        for condition, among in (
            (RowCondition(), set(rows)),
            (RowCondition(label_keys=frozenset({key := str(rows[document_id].metadata[LABEL_KEY])})), by_label[key]),
            (RowCondition(document_ids=tuple(wanted[:50])), set(wanted[:50])),
        ):
            yield "nearest", partial(_of_nearest, cell, collection_id, rows, document_id, condition, among)


def _rows_of_log(cell: EmbeddedCell, collection_id: str) -> list[StoredRow]:
    return cell.log.rows_at(cell.log.living(collection_id).tolist())


def _of_label(cell: EmbeddedCell, collection_id: str, label_key: str, ids: set[str]) -> Iterator[str]:
    found = cell.find_ids(collection_id, RowCondition(label_keys=frozenset({label_key})))
    return _of_ids(f"ids of label {label_key}", found, ids)


def _of_page(cell: EmbeddedCell, collection_id: str, page: Mapping[str, StoredRow]) -> Iterator[str]:
    return _of_rows("rows", cell.get(collection_id, list(page), with_embeddings=True), page)


def _of_ids(what: str, found: list[str], wanted: object) -> Iterator[str]:
    assert isinstance(wanted, (Mapping, set))
    if len(found) != len(set(found)) or set(found) != set(wanted):
        missing, new = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        yield f"{what}: {len(missing)} missing {missing[:3]}, {len(new)} not of it {new[:3]}"


def _of_rows(what: str, found: list[StoredRow], wanted: Mapping[str, StoredRow]) -> Iterator[str]:
    yield from _of_ids(what, [row.document_id for row in found], wanted)
    for row in found:
        if row.document_id in wanted and bits(row) != bits(wanted[row.document_id]):
            yield f"{what}: {bits(row)} instead of {bits(wanted[row.document_id])}"
            return


def bits(row: StoredRow) -> tuple[object, ...]:
    """All that a row consists of; what looks the same is the same bits."""
    assert row.embedding is not None
    metadata = sorted((key, repr(value)) for key, value in row.metadata.items() if value is not None)
    return row.document_id, row.text, metadata, row.embedding.tobytes()


def _of_nearest(
    cell: EmbeddedCell,
    collection_id: str,
    rows: Mapping[str, StoredRow],
    document_id: str,
    condition: RowCondition,
    among: set[str],
) -> Iterator[str]:
    vector = rows[document_id].embedding
    assert vector is not None
    candidates = sorted(among)
    right = dict(zip(candidates, _distances(vector, [rows[each] for each in candidates]), strict=True))
    best = sorted(right.values())[:NEAREST]
    found = {each.row.document_id: each for each in cell.nearest(collection_id, vector, NEAREST, condition)}
    if len(found) != len(best) or not set(found) <= among:
        yield f"nearest: {len(found)} of {len(best)} rows"
    elif not np.allclose([right[each] for each in found], best, atol=1e-5):
        yield f"nearest: {[right[each] for each in found]} instead of {best}"
    elif any(each.row.text != rows[name].text for name, each in found.items()):
        yield "nearest: a text is another"


def _distances(vector: np.ndarray, rows: list[StoredRow]) -> list[float]:
    matrix = np.stack([row.embedding for row in rows]).astype(np.float64)
    cosines = matrix @ vector.astype(np.float64) / np.linalg.norm(matrix, axis=1) / np.linalg.norm(vector)
    return list(1.0 - cosines)
