"""Reads a collection from the store, where it is not or must not be in memory as a whole."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.filters import AnyOf, Exists, MetadataFilter, Range, kinds_of_values
from vecsec_retrieval.model.rows import Document, ScoreParts, Vector
from vecsec_retrieval.model.sources import POSITION_KEY, SourceSummary
from vecsec_retrieval.model.store import Cell, RowCondition
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.matching import matching
from vecsec_retrieval.search.reader import LabelCount, SearchAnswer, SearchOrder, SelectedRows
from vecsec_retrieval.search.source_listing import sources_of
from vecsec_retrieval.search.store_search import StoreSearch
from vecsec_retrieval.search.store_text_search import StoreTextSearch
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.eyes import Eyes
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.visible_rows import filter_visible, visible_rows_condition

_ROWS_A_PAGE = 500
_PASSAGES = Range(POSITION_KEY, at_least=1)
"""All that are passages of sources."""


class StoreReader:
    """See `readers.CollectionReader`."""

    def __init__(
        self,
        cell: Cell,
        collection_id: str,
        *,
        catalogue: LabelCatalogue,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
    ) -> None:
        self._cell = cell
        self._collection_id = collection_id
        self._catalogue = catalogue
        self._threads = threads
        self._metrics = metrics
        self._search = StoreSearch(cell, collection_id, catalogue=catalogue, threads=threads, metrics=metrics)
        self._text_search = StoreTextSearch(cell, collection_id, catalogue=catalogue, threads=threads, metrics=metrics)

    async def has_visible(self, visibility: Eyes) -> bool:
        return bool(await self._visible_ids(visibility, limit=1))

    async def count(self, visibility: Eyes, metadata: MetadataFilter | None = None) -> int:
        if metadata is not None:
            return len((await self.select(visibility, metadata=metadata)).document_ids)
        return len(await self._visible_ids(visibility, limit=None))

    async def label_counts(self, visibility: Visibility, *, after_key: str, limit: int) -> list[LabelCount]:
        table = await self._catalogue.labels()
        visible = await visibility.in_table(table)
        codes = await self._threads.run(
            "list_labels", lambda: table.in_key_order(visible, after_key=after_key, limit=limit)
        )
        return [
            LabelCount(
                table.labels[code], len(await self._ids(RowCondition(frozenset({table.keys[code]})), limit=None))
            )
            for code in codes
        ]

    async def ids(
        self, visibility: Eyes, *, after_id: str, limit: int, metadata: MetadataFilter | None = None
    ) -> list[str]:
        if metadata is None:
            ids = await self._visible_ids(visibility, limit=None)
        else:
            ids = list((await self.select(visibility, metadata=metadata)).document_ids)
        return await self._threads.run(
            "list_ids", lambda: heapq.nsmallest(limit, (each for each in ids if each > after_id))
        )

    async def select(
        self, eyes: Eyes, *, metadata: MetadataFilter | None = None, document_ids: Sequence[str] | None = None
    ) -> SelectedRows:
        ids = document_ids if document_ids is not None else await self._visible_ids(eyes, limit=None, metadata=metadata)
        found: list[Document] = []
        for start in range(0, len(ids), _ROWS_A_PAGE):
            # Each row is judged by what it says itself; a store's own comparisons are coarser.
            page = await self.get(ids[start : start + _ROWS_A_PAGE], eyes)
            found += await matching(page, metadata)
        return SelectedRows(
            [document.document_id for document in found],
            [document.label for document in found],
            [frozenset(document.metadata) for document in found],
            None,
        )

    async def sources(self, visibility: Visibility, *, after_id: str, limit: int) -> list[SourceSummary]:
        ids = await self._visible_ids(visibility, limit=None, metadata=_PASSAGES)
        found: list[Document] = []
        for start in range(0, len(ids), _ROWS_A_PAGE):
            page = await self.get(ids[start : start + _ROWS_A_PAGE], visibility)
            found += (replace(document, text="") for document in page)
        return await self._threads.run("list_sources", lambda: sources_of(found, after_id, limit))

    async def metadata_keys(self, visibility: Eyes) -> frozenset[str]:
        return self._catalogue.metadata_keys(await visibility.in_table(await self._catalogue.labels()))

    async def keys_in_use(self, eyes: Eyes, keys: frozenset[str]) -> frozenset[str]:
        """Those of these keys that a visible document has. With a Chroma server: all of them, for it cannot be asked
        for keys, and to read its rows over the network for each filter would take too long."""
        if self._cell.log is None:
            return keys
        missing = keys
        while missing and (witness := await self._any_with(eyes, missing)):
            missing -= witness.metadata.keys()
        return keys - missing

    async def _any_with(self, eyes: Eyes, keys: frozenset[str]) -> Document | None:
        """A visible document that has some of these keys."""
        condition = AnyOf(tuple(Exists(key) for key in sorted(keys)))
        for limit in (1, None):  # the first that is found is one of them, but where its tags are not whole
            ids = await self._visible_ids(eyes, limit=limit, metadata=condition)
            for start in range(0, len(ids), _ROWS_A_PAGE):
                for document in await self.get(ids[start : start + _ROWS_A_PAGE], eyes):
                    if not keys.isdisjoint(document.metadata):
                        return document
            if not ids:
                break
        return None

    async def value_kinds(self, eyes: Eyes, keys: frozenset[str]) -> Mapping[str, frozenset[str]]:
        if self._cell.log is None:
            return {}
        condition = AnyOf(tuple(Exists(key) for key in sorted(keys)))
        ids = await self._visible_ids(eyes, limit=None, metadata=condition)
        kinds: dict[str, frozenset[str]] = dict.fromkeys(keys, frozenset())
        for start in range(0, len(ids), _ROWS_A_PAGE):
            page = await self.get(ids[start : start + _ROWS_A_PAGE], eyes)
            of_page = kinds_of_values((each.metadata for each in page), keys)
            kinds = {key: found | of_page[key] for key, found in kinds.items()}
        return kinds

    async def get(self, document_ids: Sequence[str], visibility: Eyes) -> list[Document]:
        rows = await self._threads.run(
            "get", lambda: self._cell.get(self._collection_id, document_ids, with_embeddings=False)
        )
        seen = await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)
        return list(seen.visible.values())

    async def search(self, order: SearchOrder[Vector | None], visibility: Visibility) -> SearchAnswer:
        if order.words is not None:
            return await self._text_search.search(order, visibility)
        assert order.query is not None, "a reader gets a vector, or words"
        answer = await self._search.search(SearchOrder(order.query, order.k, order.metadata), visibility)
        results = [
            replace(each, parts=ScoreParts(vector_score=each.score, vector_rank=rank))
            for rank, each in enumerate(answer.results, 1)
        ]
        return replace(answer, results=results)

    async def search_many(
        self, orders: Sequence[SearchOrder[Vector | None]], visibility: Visibility
    ) -> list[SearchAnswer]:
        return [await self.search(order, visibility) for order in orders]

    async def _visible_ids(
        self, visibility: Eyes, *, limit: int | None, metadata: MetadataFilter | None = None
    ) -> list[str]:
        table = await self._catalogue.labels()
        condition = visible_rows_condition(table, await visibility.in_table(table), metadata)
        return [] if condition is None else await self._ids(condition, limit=limit)

    async def _ids(self, condition: RowCondition, *, limit: int | None) -> list[str]:
        return await self._threads.run("find_ids", lambda: self._cell.find_ids(self._collection_id, condition, limit))
