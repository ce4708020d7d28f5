"""What a filter is told that nothing matches: the same wherever the rows are read from, and whatever was asked for."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.test_readers import fill
from unit.retrieval.worlds import TENANT, document, eyes, label, up_to, world

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.filters import AllOf, AnyOf, Equals, Exists, In, MetadataFilter, Not, Range
from vecsec_retrieval.search.known_keys import refuse_misspelt
from vecsec_retrieval.search.memory_reader import MemoryReader
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.use_cases.found_nothing import refuse_senseless
from vecsec_retrieval.visibility.tagging import to_stored

ROWS = 1_100
SEES = up_to(Sensitivity.PUBLIC)


@asynccontextmanager
async def both_readers() -> AsyncIterator[list[CollectionReader]]:
    """The same rows in memory and in the store: more than are read at once, of which one once had another key, and
    hidden ones of other kinds."""
    seen = [document(f"d{n}", of=label(Sensitivity.PUBLIC), metadata={"n": n, "all": True}) for n in range(ROWS)]
    seen[-1] = dataclasses.replace(seen[-1], metadata={"n": 0, "last": "x"})
    hidden = [
        document(f"h{n}", of=label(Sensitivity.SECRET), metadata={"n": "text", "last": 1, "hidden": 1})
        for n in range(20)
    ]
    once = dataclasses.replace(seen[0], metadata={"n": 0, "gone": 1})
    async with world(FakeCellStore()) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, [once, *seen[1:], *hidden])
        cell.cell.upsert("documents", [to_stored(seen[0], stale_metadata_keys={"gone"})])
        collection.apply(IndexChange(2, upserted=seen[:1]))
        hot = collection.reader()
        assert isinstance(hot, MemoryReader)
        cold = StoreReader(
            cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
        )
        yield [hot, cold]


async def told(reader: CollectionReader, condition: MetadataFilter) -> str:
    try:
        await refuse_misspelt(condition, reader, eyes(SEES))
        await refuse_senseless(condition, reader, eyes(SEES))
    except InvalidRequest as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Equals("n", "x"), "'n' is compared with a text, but in the documents that you may read it is always a number"),
        (
            Equals("last", 1),
            "'last' is compared with a number, but in the documents that you may read it is always a t",
        ),
        (AllOf((Equals("n", 1), Equals("all", "x"))), "'all' is compared with a text"),
        (AnyOf((Equals("n", "x"), Equals("n", -1))), "'n' is compared with a text"),
        (Equals("gone", 1), "no document that you may read has the metadata key 'gone'"),
        (AnyOf((Equals("gone", 1), Exists("n"))), "no document that you may read has the metadata key 'gone'"),
        (
            AllOf((Equals("last", "x"), In("hidden", (1,)))),
            "no document that you may read has the metadata key 'hidden'",
        ),
        (Equals("never", 1), "no document that you may read has the metadata key 'never'"),
        # Nothing has these values, and something might; or the filter matches rows, whatever else found none of them.
        (Equals("n", -1), ""),
        (Range("n", more_than=ROWS), ""),
        (AnyOf((Equals("n", "x"), Equals("n", 1))), ""),
        (Not(Equals("n", "x")), ""),
        (AnyOf((Equals("all", 1), Exists("last"))), ""),
    ],
)
async def test_the_same_is_told_of_a_filter_wherever_rows_are_read_from(condition: MetadataFilter, words: str) -> None:
    async with both_readers() as readers:
        answers = [await told(reader, condition) for reader in readers]
    assert answers[0] == answers[1]
    assert words in answers[0]
    assert bool(words) is bool(answers[0])


async def test_a_key_of_a_row_without_whole_tags_is_not_in_use() -> None:
    whole = document("whole", metadata={"x": 1})
    broken = to_stored(document("broken", metadata={"y": 1}))
    broken = dataclasses.replace(broken, metadata={k: v for k, v in broken.metadata.items() if k != "vs_tenant"})
    async with world(FakeCellStore()) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, [whole])
        cell.cell.upsert("documents", [broken])
        cold = StoreReader(
            cell.cell, "documents", catalogue=collection.catalogue, threads=here.threads, metrics=here.metrics
        )
        assert await cold.keys_in_use(eyes(SEES), frozenset()) == frozenset()
        assert await cold.keys_in_use(eyes(up_to(Sensitivity.SECRET)), frozenset("xy")) == {"x"}
