"""Compares all that can be asked of a cell with what must be there, bit for bit."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from faults.plan import State, info

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores.embedded_cell import EmbeddedCell
from vecsec_retrieval.visibility.tagging import LABEL_KEY

ROWS_A_CALL = 1_000
NEAREST = 10


def differences(cell: EmbeddedCell, state: State) -> Iterator[str]:
    """In words, where the cell answers something else.

    Raises:
        VecSecError: as the cell does.
    """
    found = {each.collection_id: each for each in cell.collections()}
    if found != {collection_id: info(collection_id) for collection_id in state}:
        yield f"collections: {sorted(found)} instead of {sorted(state)}"
        return
    for collection_id, rows in state.items():
        for difference in _of_collection(cell, collection_id, rows):
            yield f"{collection_id}: {difference}"


def _of_collection(cell: EmbeddedCell, collection_id: str, rows: Mapping[str, StoredRow]) -> Iterator[str]:
    if cell.find_collection(collection_id) != info(collection_id):
        yield "it is not what it was made"
    yield from _of_ids("all ids", cell.find_ids(collection_id, RowCondition()), rows)
    by_label = defaultdict(set)
    for document_id, row in rows.items():
        by_label[row.metadata[LABEL_KEY]].add(document_id)
    for label_key, ids in by_label.items():
        condition = RowCondition(label_keys=frozenset({label_key}))
        yield from _of_ids(f"ids of label {label_key}", cell.find_ids(collection_id, condition), ids)
    wanted = list(rows)
    for start in range(0, len(wanted), ROWS_A_CALL):
        page = wanted[start : start + ROWS_A_CALL]
        answer = cell.get(collection_id, page, with_embeddings=True)
        yield from _of_rows("rows", answer, {document_id: rows[document_id] for document_id in page})
    head = cell.head(collection_id, len(rows) + 1)
    yield from _of_rows("the first rows", head, rows)
    yield from _of_nearest(cell, collection_id, rows, by_label)


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
    cell: EmbeddedCell, collection_id: str, rows: Mapping[str, StoredRow], by_label: Mapping[object, set[str]]
) -> Iterator[str]:
    ids = list(rows)
    for document_id in ids[:: max(1, len(ids) // 3)]:
        vector, key = rows[document_id].embedding, rows[document_id].metadata[LABEL_KEY]
        assert vector is not None
        for condition, among in (
            (RowCondition(), ids),
            (RowCondition(label_keys=frozenset({str(key)})), sorted(by_label[key])),
            (RowCondition(document_ids=tuple(ids[:50])), ids[:50]),
        ):
            exact = _distances(vector, [rows[each] for each in among])
            found = {each.row.document_id: each for each in cell.nearest(collection_id, vector, NEAREST, condition)}
            right = dict(zip(among, exact, strict=True))
            best = sorted(exact)[:NEAREST]
            if len(found) != len(best) or not set(found) <= set(right):
                yield f"nearest: {len(found)} of {len(best)} rows"
            elif not np.allclose([right[each] for each in found], best, atol=1e-5):
                yield f"nearest: {[right[each] for each in found]} instead of {best}"
            elif any(each.row.text != rows[name].text for name, each in found.items()):
                yield "nearest: a text is another"


def _distances(vector: np.ndarray, rows: list[StoredRow]) -> list[float]:
    matrix = np.stack([row.embedding for row in rows]).astype(np.float64)
    cosines = matrix @ vector.astype(np.float64) / np.linalg.norm(matrix, axis=1) / np.linalg.norm(vector)
    return list(1.0 - cosines)
