"""How a search is run depends on what its caller sees: hidden rows change neither the way nor who does the work."""

import numpy as np
import pytest
from unit.retrieval.worlds import DIMENSIONS, document, eyes, label, up_to, upsert

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.store_threads import StoreThreads


@pytest.mark.parametrize(("visible", "hidden", "in_thread"), [(50, 0, False), (50, 21_000, False), (21_000, 0, True)])
async def test_hidden_rows_do_not_send_a_search_to_a_thread(visible: int, hidden: int, in_thread: bool) -> None:
    operations: list[str] = []
    threads = StoreThreads(1, lambda operation, _seconds: operations.append(operation))
    index = CollectionIndex(DIMENSIONS)
    secret = label(Sensitivity.SECRET)
    upsert(index, [document(f"s{number}", of=secret) for number in range(hidden)])
    upsert(index, [document(f"v{number}") for number in range(visible)])
    query = np.full(DIMENSIONS, DIMENSIONS**-0.5, dtype=np.float32)
    try:
        reader = MemoryReader(index, threads, AnswerCache(0))
        answer = await reader.search(SearchOrder(query, 5, None), eyes(up_to(Sensitivity.PUBLIC)))
    finally:
        threads.close()
    assert len(answer.results) == 5
    assert ("scan" in operations) is in_thread
