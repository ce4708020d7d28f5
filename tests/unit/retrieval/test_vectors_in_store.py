"""An embedded collection that is not in memory, which may be for hidden rows, is searched by vectors all the same, and
alike: rows, order and scores, to the bit."""

import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.retrieval.test_readers import fill
from unit.retrieval.test_text_in_store import rows_of
from unit.retrieval.test_two_worlds import SECRET, SEEN, VISIBLE, orders, some_rows
from unit.retrieval.worlds import DIMENSIONS, TENANT, eyes, world

from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.search.memory_reader import MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.search.store_search import FILTERED, OVERFETCH, WIDENED
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore


@pytest.mark.parametrize("hidden", [0, 60, 700])
async def test_answers_from_an_embedded_store_are_those_from_memory_to_the_bit(tmp_path: Path, hidden: int) -> None:
    chance = random.Random(hidden)
    rows = [*some_rows(chance, "seen", 150, VISIBLE), *some_rows(chance, "hidden", hidden, [SECRET])]
    # More copies of one vector than are asked for at first: which of them are found follows from their ids.
    copy = rows[0].embedding
    rows += [replace(row, document_id=f"{row.document_id}-copy", embedding=copy) for row in rows[:120]]
    chance.shuffle(rows)
    with closing(EmbeddedCellStore(tmp_path)) as store:
        async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
            assert cell is not None
            collection = await fill(cell, rows)
            hot = collection.reader()
            assert isinstance(hot, MemoryReader)
            cold = StoreReader(
                cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
            )
            assert copy is not None
            vectors = [each for each in orders(chance) if each.words is None]
            vectors += [SearchOrder(direction(copy), k) for k in (1, 5, 40, 400)]
            vectors += [SearchOrder(direction(-copy + np.eye(DIMENSIONS, dtype=np.float32)[0]), k) for k in (3, 30)]
            ways = set()
            for order in vectors:
                found = await cold.search(order, eyes(SEEN))
                assert rows_of(found) == rows_of(await hot.search(order, eyes(SEEN))), order
                ways.add(found.strategy)
            assert {OVERFETCH, FILTERED} <= ways <= {OVERFETCH, WIDENED, FILTERED}
