"""A filter that looks at texts is evaluated in a thread, wherever rows are judged by it."""

import threading
from collections.abc import Callable

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.test_readers import fill
from unit.retrieval.worlds import TENANT, document, eyes, permit, world

from vecsec_retrieval.model.filters import Equals, MetadataFilter, Not, TextContains, of_document
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.search import matching, store_text_search
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.words import words_of_query


@pytest.fixture
def judged_in(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each row that is judged, whether on the event loop."""
    on_loop: list[bool] = []

    def recording(condition: MetadataFilter | None) -> Callable[[Document], bool]:
        holds = of_document(condition)

        def told(of: Document) -> bool:
            on_loop.append(threading.current_thread() is threading.main_thread())
            return holds(of)

        return told

    monkeypatch.setattr(matching, "of_document", recording)
    monkeypatch.setattr(store_text_search, "of_document", recording)
    return on_loop


@pytest.mark.parametrize("words", ["row", None])
async def test_rows_of_the_store_are_judged_in_a_thread(judged_in: list[bool], words: str | None) -> None:
    rows = [document(str(number), text=f"row {number}", metadata={"n": number}) for number in range(30)]
    condition = Not(TextContains("2"))
    async with world(FakeCellStore()) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, rows)
        cold = StoreReader(
            cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
        )
        query = None if words else rows[0].embedding
        order = SearchOrder(query, 25, condition, words=words_of_query(words) if words else None)
        assert len((await cold.search(order, eyes(permit()))).results) == 18
        assert len((await cold.select(eyes(permit()), metadata=condition)).document_ids) == 18
    assert len(judged_in) >= 36
    assert not any(judged_in)


async def test_what_looks_at_metadata_alone_is_judged_at_once(judged_in: list[bool]) -> None:
    rows = [document(str(number), text="row", metadata={"n": number}) for number in range(3)]

    assert [each.document_id for each in await matching.matching(rows, Equals("n", 1))] == ["1"]
    assert await matching.matching(rows, None) == rows
    assert judged_in == [True] * 6
