"""Where a collection is not in memory, which may be for hidden rows, it is searched by words all the same, and
alike."""

import random

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.test_readers import fill
from unit.retrieval.test_two_worlds import SECRET, SEEN, VISIBLE, orders, some_rows
from unit.retrieval.worlds import TENANT, document, eyes, permit, world

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_retrieval.search.memory_reader import MemoryReader
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.search.store_text_search import READ_THROUGH
from vecsec_retrieval.use_cases.collection_search import SearchWanted
from vecsec_retrieval.use_cases.search_modes import mode_of
from vecsec_retrieval.words import words_of_query


def rows_of(answer: SearchAnswer) -> list[tuple[str, str, str, str]]:
    found = answer.results
    return [(each.document.document_id, each.document.text, repr(each.score), repr(each.parts)) for each in found]


@pytest.mark.parametrize("seed", range(6))
async def test_answers_from_the_store_are_those_from_memory_to_the_bit(seed: int) -> None:
    chance = random.Random(seed)
    rows = [*some_rows(chance, "seen", 80, VISIBLE), *some_rows(chance, "hidden", 50, [SECRET])]
    async with world(FakeCellStore()) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, rows)
        hot = collection.reader()
        assert isinstance(hot, MemoryReader)
        cold = StoreReader(
            cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
        )
        for order in orders(chance):
            if order.words is not None:
                found = await cold.search(order, eyes(SEEN))
                assert rows_of(found) == rows_of(await hot.search(order, eyes(SEEN))), order
                assert found.strategy == READ_THROUGH


async def test_a_row_that_is_gone_when_texts_are_read_is_left_out() -> None:
    store = FakeCellStore()
    async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, [document("stays", text="word"), document("goes", text="word word")])
        reads = 0

        def before(operation: str) -> None:
            nonlocal reads
            reads += operation == "get"
            if reads == 2:
                reads += 1
                cell.cell.delete("documents", ["goes"])

        store.before = before
        cold = StoreReader(
            cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
        )
        order = SearchOrder(None, 5, words=words_of_query("word"))
        found = await cold.search(order, eyes(permit()))
        assert [each.document.document_id for each in found.results] == ["stays"]


def test_what_a_mode_comes_to_depends_on_the_query_and_the_kind_of_store_alone() -> None:
    vector = document("one").embedding
    assert vector is not None
    assert mode_of(SearchWanted("text", 1), have_words=True) is SearchMode.HYBRID
    assert mode_of(SearchWanted("text", 1), have_words=False) is SearchMode.VECTOR
    assert mode_of(SearchWanted(vector, 1), have_words=True) is SearchMode.VECTOR
    for mode in (SearchMode.TEXT, SearchMode.HYBRID):
        assert mode_of(SearchWanted("text", 1, mode=mode), have_words=True) is mode
        with pytest.raises(InvalidRequest, match=f"{mode.name} looks for words: send a text"):
            mode_of(SearchWanted(vector, 1, mode=mode), have_words=True)
        with pytest.raises(InvalidRequest, match="the store is a Chroma server; search with VECTOR or AUTO"):
            mode_of(SearchWanted("text", 1, mode=mode), have_words=False)
