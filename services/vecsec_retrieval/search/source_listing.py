"""What is told of sources: by their ids, from what somebody sees of them and from nothing else."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice

import numpy as np

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.row_sources import RowSources
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.sources import SourceMark, SourceSummary, agreed, passage_of
from vecsec_retrieval.visibility.tagging import label_key

_MOST_LABELS = 16
"""Of a source are told: as in the contract."""


def sources_in_memory(
    sources: RowSources, moment: IndexMoment, mask: Mask, after_id: str, limit: int
) -> list[SourceSummary]:
    """The sources of the masked rows behind this id.

    Raises:
        TornSnapshot: if the snapshot is not what was written.
    """
    rows, codes, marks = sources.of(moment, mask)
    order = np.argsort(codes, kind="stable")
    rows, codes = rows[order], codes[order]
    present, starts = np.unique(codes, return_index=True)
    rows_of = dict(zip(present.tolist(), np.split(rows, starts[1:]), strict=False))
    behind = [code for code in rows_of if marks[code].source_id > after_id]
    found = []
    for group in _by_source(behind, marks, limit):
        members = np.concatenate([rows_of[code] for code in group])
        labels = np.unique(moment.label_codes[members]).tolist()
        found.append(
            SourceSummary(
                agreed(marks[code] for code in group),
                len(members),
                _first_labels(moment.labels[code] for code in labels),
            )
        )
    return found


def sources_of(documents: Iterable[Document], after_id: str, limit: int) -> list[SourceSummary]:
    """The sources of these documents behind this id."""
    documents_of: dict[SourceMark, list[Document]] = {}
    for document in documents:
        passage = passage_of(document.metadata)
        if passage is not None and passage.mark.source_id > after_id:
            documents_of.setdefault(passage.mark, []).append(document)
    marks = dict(enumerate(documents_of))
    found = []
    for group in _by_source(marks, marks, limit):
        members = [document for code in group for document in documents_of[marks[code]]]
        labels = _first_labels({document.label for document in members})
        found.append(SourceSummary(agreed(marks[code] for code in group), len(members), labels))
    return found


def _by_source(codes: Iterable[int], marks: Mapping[int, SourceMark], limit: int) -> Iterator[list[int]]:
    """The codes of the marks of each of the first sources, by their ids."""
    ordered = sorted(codes, key=lambda code: marks[code].source_id)
    groups = groupby(ordered, key=lambda code: marks[code].source_id)
    return (list(group) for _, group in islice(groups, limit))


def _first_labels(labels: Iterable[Label]) -> tuple[Label, ...]:
    return tuple(sorted(labels, key=label_key)[:_MOST_LABELS])
