"""Which sources are told of rows: those of these rows, and nothing is gone over that others have."""

from dataclasses import replace

import numpy as np
from unit.retrieval.worlds import DIMENSIONS, document, label, upsert

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.sources import SourceMark, SourcePassage, marked
from vecsec_retrieval.search.source_listing import sources_in_memory


def passage(document_id: str, source_id: str, sensitivity: Sensitivity = Sensitivity.PUBLIC) -> Document:
    bare = document(document_id, of=label(sensitivity))
    return replace(bare, metadata=marked(bare.metadata, SourcePassage(SourceMark(source_id, "v1"), 1)))


def test_threat_23_marks_of_hidden_rows_are_not_among_those_of_visible_ones() -> None:
    """Also when somebody else had them listed before."""
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [passage(f"s{number}", f"hidden{number}", Sensitivity.SECRET) for number in range(40)])
    upsert(index, [document("alone"), passage("a", "a"), passage("b1", "b"), passage("b2", "b")])
    moment = index.moment()
    all_rows, _, all_marks = index.sources.of(moment, moment.alive)
    assert (len(all_rows), len(all_marks)) == (43, 42)
    visible = np.arange(len(moment.alive)) >= 40
    rows, codes, marks = index.sources.of(moment, visible)
    assert rows.tolist() == [41, 42, 43]
    assert [marks[code].source_id for code in codes.tolist()] == ["a", "b", "b"]
    assert len(marks) == 2
    told = [(each.mark, each.document_count) for each in sources_in_memory(index.sources, moment, visible, "", 5)]
    assert told == [(SourceMark("a", "v1"), 1), (SourceMark("b", "v1"), 2)]
    behind = sources_in_memory(index.sources, moment, visible, "a", 5)
    assert [each.mark.source_id for each in behind] == ["b"]
    assert sources_in_memory(index.sources, moment, np.zeros(len(visible), dtype=np.bool_), "", 5) == []


def test_the_rows_of_sources_are_found_whoever_sees_them() -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [passage("s", "a", Sensitivity.SECRET), passage("p", "a"), passage("q", "b"), document("alone")])
    moment = index.moment()
    assert index.sources.rows_of(moment, {"a", "none"}) == {0: "a", 1: "a"}
    assert index.sources.rows_of(moment, {"none"}) == {}
