"""Reads a collection from its index in memory; nothing here touches the store.

Answers are kept for who asks the same again while nothing has changed. An answer follows from the rows of the index,
what the caller sees of them, and the question. All three are in the key: an acknowledged write or delete gives the
index another state, and a policy that sees otherwise another residual. So is the policy's version, and who asked
(`cache_scope`). What is kept are row numbers: no text, no label, no vector. Each row is judged again before it is
given, so that a mistake in a key could cost rows, but show none.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_chassis.telemetry.tracing import Timed
from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.index import CollectionIndex, KnownRows
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.postings.bm25 import MOST_WORDS
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.model.filters import MetadataFilter, Predicate, kinds_of_values, looks_at_texts, predicate
from vecsec_retrieval.model.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.model.sources import SourceSummary
from vecsec_retrieval.search.fused_ranks import RankedRow
from vecsec_retrieval.search.ranked_rows import MaskedMoment, RowsWanted, ranked_rows, ranked_rows_of_many
from vecsec_retrieval.search.reader import LabelCount, SearchAnswer, SearchOrder, SelectedRows
from vecsec_retrieval.search.source_listing import sources_in_memory
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.eyes import Eyes
from vecsec_retrieval.visibility.label_table import Visible
from vecsec_retrieval.visibility.permissions import Visibility

STRATEGY = "exact_scan"
REMEMBERED = "remembered"
_INLINE_ROWS = 20_000
_INLINE_FILTERED_ROWS = 1_000
_INLINE_K = 100
"""Up to so many visible rows a scan is over before anybody would notice that others had to wait; a filter looks at each
row, and the k best are sorted by Python. Hidden rows do not count: time would tell how many there are."""
_INLINE_WORDS_OF_ROWS = 10_000
_LEAST_ROWS_OF_A_WORD = 100
"""Visible rows times words that are looked for: some 2 ms. To look a word up takes as long as a hundred rows of it."""
_BYTES_OF_AN_ANSWER = 800
_BYTES_OF_A_ROW = 64


class AnswerKey(NamedTuple):
    """What an answer follows from, and whose it is."""

    index_state: int
    """Of one collection of one tenant, between two changes; no other state of this process has the number."""
    cache_scope: CacheScope
    policy_version: str
    residual: str
    question: bytes
    """Hash of vector, words, k and the filter with the types of its values: for Python, 1 and True are the same."""

    @classmethod
    def of(cls, index_state: int, visibility: Visibility, order: SearchOrder[Vector | None]) -> "AnswerKey":
        """The key of a search."""
        question = sha256(b"" if order.query is None else order.query.tobytes())
        question.update(repr((order.k, order.metadata, order.words)).encode(errors="surrogatepass"))
        return cls(index_state, visibility.cache_scope, visibility.policy_version, visibility.key, question.digest())


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """Which rows were found."""

    rows: Sequence[RankedRow]
    """By their numbers in the index in that state, best first."""
    filtered_rows: int
    """Rows met that were left out because their label is not visible."""


class AnswerCache:
    """The answers of one process, while there is room; those that were not asked for longest have to go."""

    def __init__(self, limit_bytes: int) -> None:
        """At most so much memory; nothing is remembered if it is 0."""
        self._limit_bytes = limit_bytes
        self._answers: LRUCache[AnswerKey, tuple[CachedAnswer, int]] = LRUCache(limit_bytes, getsizeof=_weight)
        self.lookups = CacheCounter()
        """How often an answer was at hand."""

    @property
    def is_on(self) -> bool:
        """Whether anything is remembered."""
        return self._limit_bytes > 0

    def find(self, key: AnswerKey) -> CachedAnswer | None:
        """The answer, if it was kept and there is still room for it."""
        answer, _ = self._answers.get(key, (None, 0))
        self.lookups.count(found=answer is not None)
        return answer

    def keep(self, key: AnswerKey, answer: CachedAnswer) -> None:
        """Remember an answer, unless it alone is more than there is room for."""
        size = _BYTES_OF_AN_ANSWER + len(key.residual) + _BYTES_OF_A_ROW * len(answer.rows)
        if size <= self._limit_bytes:
            self._answers[key] = answer, size


class MemoryReader:
    """See `readers.CollectionReader`."""

    def __init__(self, index: CollectionIndex, threads: StoreThreads, answers: AnswerCache) -> None:
        self._index = index
        self._threads = threads
        self._answers = answers

    async def has_visible(self, visibility: Eyes) -> bool:
        _, mask = await self._visible_rows(visibility)
        return bool(mask.any())

    async def count(self, visibility: Eyes, metadata: MetadataFilter | None = None) -> int:
        moment, mask = await self._visible_rows(visibility)
        if metadata is not None:
            await self._threads.run("filter", lambda: _narrow(mask, moment, predicate(metadata)))
        return int(np.count_nonzero(mask))

    async def label_counts(self, visibility: Visibility, *, after_key: str, limit: int) -> list[LabelCount]:
        moment, mask = await self._visible_rows(visibility)
        table = self._index.labels
        counts = np.bincount(moment.label_codes[mask])
        bearing = counts > 0
        codes = await self._threads.run(
            "list_labels", lambda: table.in_key_order(bearing, after_key=after_key, limit=limit)
        )
        return [LabelCount(table.labels[code], int(counts[code])) for code in codes]

    async def ids(
        self, visibility: Eyes, *, after_id: str, limit: int, metadata: MetadataFilter | None = None
    ) -> list[str]:
        moment, mask = await self._visible_rows(visibility)
        holds = None if metadata is None else predicate(metadata)
        return await self._threads.run("list_ids", lambda: _first_ids(moment, mask, after_id, limit, holds))

    async def select(
        self, eyes: Eyes, *, metadata: MetadataFilter | None = None, document_ids: Sequence[str] | None = None
    ) -> SelectedRows:
        moment, mask = await self._visible_rows(eyes)
        holds = None if metadata is None else predicate(metadata)
        return await self._threads.run("select", lambda: self._selected(moment, mask, holds, document_ids))

    def _selected(
        self, moment: IndexMoment, mask: Mask, holds: Predicate | None, document_ids: Sequence[str] | None
    ) -> SelectedRows:
        if document_ids is not None:
            named = [row for each in document_ids if (row := self._index.row(each)) is not None and mask[row]]
            numbers = np.unique(np.array(named, dtype=np.int64))
        else:
            if holds is not None:
                _narrow(mask, moment, holds)
            numbers = np.flatnonzero(mask)
        return SelectedRows(
            [moment.document_id(row) for row in numbers.tolist()],
            [moment.labels[code] for code in moment.label_codes[numbers].tolist()],
            [moment.key_sets[code] for code in moment.key_set_codes[numbers].tolist()],
            KnownRows(self._index, numbers),
        )

    async def sources(self, visibility: Visibility, *, after_id: str, limit: int) -> list[SourceSummary]:
        moment, mask = await self._visible_rows(visibility)
        return await self._threads.run(
            "list_sources", lambda: sources_in_memory(self._index.sources, moment, mask, after_id, limit)
        )

    async def metadata_keys(self, visibility: Eyes) -> frozenset[str]:
        moment, mask = await self._visible_rows(visibility)
        return moment.metadata_keys(mask)

    async def value_kinds(self, eyes: Eyes, keys: frozenset[str]) -> Mapping[str, frozenset[str]]:
        moment, mask = await self._visible_rows(eyes)

        def told() -> dict[str, frozenset[str]]:
            having = np.array([not keys.isdisjoint(each) for each in moment.key_sets], dtype=np.bool_)
            rows = np.flatnonzero(mask & having[moment.key_set_codes]).tolist() if having.any() else []
            return kinds_of_values(map(moment.metadata, rows), keys)

        return await self._threads.run("value_kinds", told)

    async def get(self, document_ids: Sequence[str], visibility: Visibility) -> list[Document]:
        moment, mask = await self._visible_rows(visibility)
        rows = (self._index.row(document_id) for document_id in document_ids)
        return await self._documents(moment, [row for row in rows if row is not None and mask[row]])

    async def search(self, order: SearchOrder[Vector | None], visibility: Visibility) -> SearchAnswer:
        moment, visible = await self._visible_labels(visibility)
        if not self._answers.is_on:
            return await self._answer(moment, await self._found(moment, visible, order), STRATEGY)
        key = AnswerKey.of(self._index.state, visibility, order)
        remembered = self._answers.find(key)
        if remembered is not None and _are_visible(moment, visible, remembered):
            return await self._answer(moment, remembered, REMEMBERED)
        found = await self._found(moment, visible, order)
        self._answers.keep(key, found)
        return await self._answer(moment, found, STRATEGY)

    async def search_many(
        self, orders: Sequence[SearchOrder[Vector | None]], visibility: Visibility
    ) -> list[SearchAnswer]:
        moment, visible = await self._visible_labels(visibility)
        groups: dict[str, list[int]] = {}
        for place, order in enumerate(orders):
            # By what is written, not by what is equal: for Python, 1 and True are the same.
            groups.setdefault(repr(order.metadata), []).append(place)
        with Timed("mask"):
            mask = moment.mask(visible)
        found: dict[int, CachedAnswer] = {}
        for places in groups.values():
            ranked = await self._ranked(moment, mask.copy(), [orders[place] for place in places])
            found |= dict(zip(places, ranked, strict=True))
        return [await self._answer(moment, found[place], STRATEGY) for place in range(len(orders))]

    async def _ranked(
        self, moment: IndexMoment, mask: Mask, orders: Sequence[SearchOrder[Vector | None]]
    ) -> list[CachedAnswer]:
        """What orders with the same filter find."""
        visible_rows = int(np.count_nonzero(mask))
        filtered_rows = len(self._index) - visible_rows
        metadata = orders[0].metadata

        def scan() -> list[list[RankedRow]]:
            if metadata is not None:
                _narrow(mask, moment, predicate(metadata))
            return ranked_rows_of_many(
                MaskedMoment(moment, mask), [RowsWanted(order.query, order.words, order.k) for order in orders]
            )

        with Timed("scan"):
            is_short = _is_short(orders, visible_rows) and not moment.scan_waits_for_disk(mask)
            ranked = scan() if is_short else await self._threads.run("scan", scan)
        return [CachedAnswer(rows, filtered_rows) for rows in ranked]

    async def _found(self, moment: IndexMoment, visible: Visible, order: SearchOrder[Vector | None]) -> CachedAnswer:
        with Timed("mask"):
            mask = moment.mask(visible)
        visible_rows = int(np.count_nonzero(mask))
        filtered_rows = len(self._index) - visible_rows
        scan = _scan(moment, mask, order)
        with Timed("scan"):
            is_short = _is_short([order], visible_rows) and not moment.scan_waits_for_disk(mask)
            rows = scan() if is_short else await self._threads.run("scan", scan)
        return CachedAnswer(rows, filtered_rows)

    async def _answer(self, moment: IndexMoment, found: CachedAnswer, strategy: str) -> SearchAnswer:
        documents = await self._documents(moment, [ranked.row for ranked in found.rows])
        results = [
            ScoredDocument(document, ranked.score, ranked.parts)
            for document, ranked in zip(documents, found.rows, strict=True)
        ]
        return SearchAnswer(results, strategy, found.filtered_rows)

    async def _documents(self, moment: IndexMoment, rows: Sequence[int]) -> list[Document]:
        if len(rows) > _INLINE_K or moment.texts_wait_for_disk(rows):
            return await self._threads.run("read_rows", lambda: [moment.document(row) for row in rows])
        return [moment.document(row) for row in rows]

    async def _visible_rows(self, visibility: Eyes) -> tuple[IndexMoment, Mask]:
        """The index as it is on return, and which of its rows are visible."""
        moment, visible = await self._visible_labels(visibility)
        with Timed("mask"):
            return moment, moment.mask(visible)

    async def _visible_labels(self, visibility: Eyes) -> tuple[IndexMoment, Visible]:
        """The index as it is on return, and which of its labels are visible."""
        with Timed("mask"):
            visible = await visibility.in_table(self._index.labels)
            moment = self._index.moment()
            moment.require_unchanged()
            return moment, visible


def _first_ids(moment: IndexMoment, mask: Mask, after_id: str, limit: int, holds: Predicate | None) -> list[str]:
    """The first ids of the masked rows behind this one. The order of a snapshot's is known: of them no more are looked
    at than are wanted, however many there are."""
    of_base = np.array([], dtype=np.int32)
    if moment.base is not None:
        behind = moment.base.rows_by_id[moment.base.rank(after_id) :]
        of_base = behind[mask[behind]]
        if holds is None:
            of_base = of_base[: limit + 1]  # one more, for the first may be the id itself
    later = moment.base_rows + np.flatnonzero(mask[moment.base_rows :])
    of_base_ids, later_ids = _ids(moment, of_base, after_id, holds), _ids(moment, later, after_id, holds)
    return heapq.nsmallest(limit, (*islice(of_base_ids, limit), *later_ids))


def _ids(moment: IndexMoment, rows: NDArray[np.signedinteger], after_id: str, holds: Predicate | None) -> Iterator[str]:
    """The ids behind this one of those rows that match."""
    for row in rows.tolist():
        document_id = moment.document_id(row)
        if document_id > after_id and (holds is None or holds(moment.metadata(row), partial(moment.text, row))):
            yield document_id


def _are_visible(moment: IndexMoment, visible: Visible, remembered: CachedAnswer) -> bool:
    """Whether every remembered row lives and is visible, by its own label: what is remembered is never trusted."""
    rows = [ranked.row for ranked in remembered.rows]
    if max(rows, default=-1) >= len(moment.label_codes):
        return False
    codes = moment.label_codes[rows]
    return bool((codes < len(visible)).all() and visible[codes].all() and moment.alive[rows].all())


def _is_short(orders: Sequence[SearchOrder[Vector | None]], visible_rows: int) -> bool:
    """Whether these, of one filter, are answered before others would notice. What looks at texts never is."""
    words = [order.words for order in orders if order.words is not None]
    if any(each.phrases for each in words):
        return False
    word_count = sum(min(len(each.words), MOST_WORDS) for each in words)
    return (
        visible_rows * len(orders) <= _inline_rows(orders[0].metadata)
        and sum(order.k for order in orders) <= _INLINE_K
        and max(visible_rows, _LEAST_ROWS_OF_A_WORD) * word_count <= _INLINE_WORDS_OF_ROWS
    )


def _inline_rows(metadata: MetadataFilter | None) -> int:
    if metadata is None:
        return _INLINE_ROWS
    return 0 if looks_at_texts(metadata) else _INLINE_FILTERED_ROWS


def _scan(moment: IndexMoment, mask: Mask, order: SearchOrder[Vector | None]) -> Callable[[], list[RankedRow]]:
    def scan() -> list[RankedRow]:
        if order.metadata is not None:
            _narrow(mask, moment, predicate(order.metadata))
        return ranked_rows(MaskedMoment(moment, mask), RowsWanted(order.query, order.words, order.k))

    return scan


def _narrow(mask: Mask, moment: IndexMoment, holds: Predicate) -> None:
    for row in mask.nonzero()[0].tolist():
        if not holds(moment.metadata(row), partial(moment.text, row)):
            mask[row] = False


def _weight(entry: tuple[CachedAnswer, int]) -> int:
    return entry[1]
