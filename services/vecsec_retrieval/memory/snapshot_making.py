"""Makes snapshots of a collection: of what is in memory of it, or of all rows in its log."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.exact_scan import Rows, ScanRows
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.postings.postings_writer import PostingsWriter
from vecsec_retrieval.memory.postings.word_counts import counted_words
from vecsec_retrieval.memory.quantised_rows import QuantisedRows, quantise
from vecsec_retrieval.memory.snapshot_format import SnapshotSource
from vecsec_retrieval.memory.snapshot_writer import SnapshotPage, SnapshotWriter
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document, StoredRow
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.visibility.tagging import from_stored, label_key

_ROWS_A_PAGE = 2_000


def write_moment(path: Path, source: SnapshotSource, moment: IndexMoment, untagged_ids: frozenset[str]) -> int:
    """Write the living rows of an index; labels and sets of keys that no row has any more are forgotten.

    Returns the checksum of the file's table.

    Raises:
        OSError: if there is no room.
        TornSnapshot: if rows of the snapshot before are not what was written.
    """
    rows, by_id = _together_by_label(moment)
    labels, label_codes = _renumbered(moment.label_codes[rows])
    key_sets, key_set_codes = _renumbered(moment.key_set_codes[rows])
    with SnapshotWriter(path, source, len(rows)) as writer:
        for start in range(0, max(1, len(rows)), _ROWS_A_PAGE):
            page = slice(start, start + _ROWS_A_PAGE)
            writer.add(_page_of(moment, rows[page], label_codes[page], key_set_codes[page]))
        _add_words(writer.words, moment, rows)
        return writer.finish(
            [moment.labels[code] for code in labels], [moment.key_sets[code] for code in key_sets], untagged_ids, by_id
        )


class SnapshotOfLog:
    """Writes all rows of a log, which come in the order of their ids, and stay in it.

    Raises:
        OSError: if there is no room, in any method.
    """

    def __init__(self, path: Path, source: SnapshotSource, most_rows: int) -> None:
        self._writer = SnapshotWriter(path, source, most_rows)
        self._tenant_id = source.tenant_id
        self._labels = LabelTable()
        self._key_sets: dict[frozenset[str], int] = {}
        self._untagged_ids: set[str] = set()

    def __enter__(self) -> "SnapshotOfLog":
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.abandon()

    def add(self, rows: Sequence[StoredRow]) -> None:
        """Append rows with embeddings, at least one."""
        documents = []
        for row in rows:
            document = from_stored(row, self._tenant_id)
            if document is None:
                self._untagged_ids.add(row.document_id)
            else:
                documents.append(document)
        if documents:
            self._writer.words.add_rows(self._writer.rows, counted_words(documents))
            self._writer.add(self._page(documents))

    def finish(self) -> int:
        """The checksum of the file's table."""
        return self._writer.finish(self._labels.labels, list(self._key_sets), frozenset(self._untagged_ids))

    def _page(self, documents: Sequence[Document]) -> SnapshotPage:
        exact = normalised(np.stack([each.embedding for each in documents if each.embedding is not None]))
        label_codes = [self._labels.add(each.label) for each in documents]
        key_sets = [frozenset(each.metadata) for each in documents]
        key_set_codes = [self._key_sets.setdefault(keys, len(self._key_sets)) for keys in key_sets]
        return SnapshotPage(
            [each.document_id for each in documents],
            ScanRows(exact, quantise(exact)),
            np.array(label_codes, dtype=np.int32),
            np.array(key_set_codes, dtype=np.int32),
            [each.text.encode() for each in documents],
            [orjson.dumps(each.metadata) for each in documents],
        )


def _add_words(writer: PostingsWriter, moment: IndexMoment, rows: Rows) -> None:
    """The words of these rows, in this order: they were counted when the rows were written."""
    new_rows = np.full(len(moment.alive), -1, dtype=np.int32)
    new_rows[rows] = np.arange(len(rows), dtype=np.int32)
    if moment.base is not None:
        writer.add_stored(moment.base.words, new_rows[: moment.base_rows])
    writer.add_later(moment.later_words, new_rows[moment.base_rows :])
    lengths = np.concatenate([part.lengths for part in moment.words])
    writer.set_lengths(lengths[rows].astype(np.int32))


def _together_by_label(moment: IndexMoment) -> tuple[Rows, NDArray[np.int32]]:
    """The living rows, those of one label together and the labels in the order of their clearance, so that what a
    caller sees lies together, too; and where in this order the rows are that come one after the other by their ids."""
    in_order = _in_order(moment)
    used, codes = np.unique(moment.label_codes[in_order], return_inverse=True)
    labels = [moment.labels[code] for code in used.tolist()]
    place_of = np.empty(len(labels), dtype=np.int64)
    place_of[sorted(range(len(labels)), key=lambda code: _clearance_and_key(labels[code]))] = np.arange(len(labels))
    order = np.argsort(place_of[codes], kind="stable")
    by_id = np.empty(len(order), dtype=np.int32)
    by_id[order] = np.arange(len(order), dtype=np.int32)
    return in_order[order], by_id


def _clearance_and_key(label: Label) -> tuple[int, str]:
    return -1 if label.sensitivity is None else label.sensitivity, label_key(label)


def _in_order(moment: IndexMoment) -> Rows:
    """The living rows in the order of their ids."""
    moment.require_unchanged()
    later = (np.flatnonzero(moment.alive[moment.base_rows :]) + moment.base_rows).tolist()
    later.sort(key=lambda row: moment.document_id(row).encode())
    if moment.base is None:
        return np.array(later, dtype=np.int64)
    of_base = moment.base.rows_by_id
    ranks = [moment.base.rank(moment.document_id(row)) for row in later]
    merged = np.insert(of_base.astype(np.int64), ranks, later)
    return merged[moment.alive[merged]]


def _page_of(
    moment: IndexMoment, rows: Rows, label_codes: NDArray[np.int32], key_set_codes: NDArray[np.int32]
) -> SnapshotPage:
    moment.require_unchanged()
    numbers = rows.tolist()
    return SnapshotPage(
        [moment.document_id(row) for row in numbers],
        _gathered(moment, rows),
        label_codes,
        key_set_codes,
        [_encoded_text(moment, row) for row in numbers],
        [_encoded_metadata(moment, row) for row in numbers],
    )


def _gathered(moment: IndexMoment, rows: Rows) -> ScanRows:
    """These rows of all parts, whatever their order."""
    if len(moment.parts) == 1:
        return moment.parts[0].gathered(rows)
    base, later = moment.parts
    is_later = rows >= len(base)
    found = [(is_later, later.gathered(rows[is_later] - len(base))), (~is_later, base.gathered(rows[~is_later]))]
    exact = np.empty((len(rows), base.exact.shape[1]), dtype=np.float32)
    numbers = np.empty(exact.shape, dtype=np.int8)
    scales, errors = np.empty(len(rows), dtype=np.float32), np.empty(len(rows), dtype=np.float32)
    for places, part in found:
        exact[places], numbers[places] = part.exact, part.quantised.numbers
        scales[places], errors[places] = part.quantised.scales, part.quantised.errors
    return ScanRows(exact, QuantisedRows(numbers, scales, errors))


def _encoded_text(moment: IndexMoment, row: int) -> bytes:
    if moment.base is not None and row < len(moment.base):
        return moment.base.encoded_text(row)
    return moment.later[row - moment.base_rows].text.encode()


def _encoded_metadata(moment: IndexMoment, row: int) -> bytes:
    if moment.base is not None and row < len(moment.base):
        return moment.base.encoded_metadata(row)
    return orjson.dumps(moment.later[row - moment.base_rows].metadata)


def _renumbered(codes: NDArray[np.int32]) -> tuple[list[int], NDArray[np.int32]]:
    """The codes that occur, and all codes as positions among these."""
    used, positions = np.unique(codes, return_inverse=True)
    return used.tolist(), positions.astype(np.int32)
