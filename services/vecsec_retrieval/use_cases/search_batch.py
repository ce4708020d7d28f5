"""Several searches in one call: looked at by collection, so that what they share is done once. Each is answered as if
it were alone, and one that cannot be answered leaves the others be."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vecsec_chassis.domain.errors import InvalidRequest, LimitExceeded, VecSecError
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.filters import refuse_oversized
from vecsec_retrieval.model.rows import Vector
from vecsec_retrieval.search.reader import SearchAnswer
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE
from vecsec_retrieval.use_cases.collection_search import CollectionSearch, SearchWanted, scored_with_embeddings
from vecsec_retrieval.use_cases.document_sizes import label_size, size_without_label
from vecsec_retrieval.use_cases.search_modes import with_mode
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.visibility.permissions import Permissions, Visibility, refuse_unseen

MOST_ROWS = 1_000
"""Of all queries together: as many as one search may ask for, and as the policy service checks at once."""


@dataclass(frozen=True, slots=True)
class QueryInCollection:
    """One query of a batch, and where it looks."""

    collection_id: str
    wanted: SearchWanted[str | Vector]


class SearchBatch:
    """The use case."""

    def __init__(
        self,
        permissions: Permissions,
        cells: OpenCells,
        searching: CollectionSearch,
        metrics: RetrievalMetrics,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._permissions = permissions
        self._cells = cells
        self._searching = searching
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    async def search(
        self, token: str, queries: Sequence[QueryInCollection | InvalidRequest], *, include_embeddings: bool
    ) -> list[SearchAnswer | VecSecError]:
        """An answer or an error for each query; one that could not even be read comes as its error.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            InvalidRequest: if all queries together ask for too many rows.
            VecSecError: where the store fails, which it does for all of them.
        """
        visibility = await self._permissions.require_reading(token, embeddings=include_embeddings)
        readable = [each for each in queries if isinstance(each, QueryInCollection)]
        refuse_too_many_rows(sum(each.wanted.depth for each in readable))
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            by_collection: dict[str, list[SearchWanted[str | Vector]]] = {}
            for each in readable:
                by_collection.setdefault(each.collection_id, []).append(each.wanted)
            found = {
                collection_id: iter(
                    await self._in_collection(
                        cell, collection_id, wanted, visibility, include_embeddings=include_embeddings
                    )
                )
                for collection_id, wanted in by_collection.items()
            }
        answers: list[SearchAnswer | VecSecError] = [
            each if isinstance(each, InvalidRequest) else next(found[each.collection_id]) for each in queries
        ]
        answers = await asyncio.to_thread(_that_fit, answers, self._max_answer_bytes)
        self._report(answers, visibility)
        # How an answer was found tells whether hidden rows were in the way.
        return answers if visibility.grant.may_configure else list(map(_without_strategy, answers))

    async def _in_collection(
        self,
        cell: OpenCell | None,
        collection_id: str,
        wanted: Sequence[SearchWanted[str | Vector]],
        visibility: Visibility,
        *,
        include_embeddings: bool,
    ) -> list[SearchAnswer | VecSecError]:
        ready = [await self._ready(each) for each in wanted]
        collection = await seen_collection(cell, collection_id, visibility)
        fitting = [each for each in ready if isinstance(each, SearchWanted)]
        found: Iterator[SearchAnswer | InvalidRequest | None] = iter([None] * len(fitting))
        if collection is not None:
            found = iter(await self._searching.many(collection, fitting, visibility))
        answers: list[SearchAnswer | VecSecError] = []
        for each in ready:
            if isinstance(each, InvalidRequest):
                answers.append(each)
                continue
            answer = next(found) or _unseen(collection_id, each.mode)
            if collection is not None and include_embeddings and isinstance(answer, SearchAnswer):
                answer = replace(answer, results=await scored_with_embeddings(collection, answer.results, visibility))
            answers.append(answer)
        return answers

    async def _ready(self, wanted: SearchWanted[str | Vector]) -> SearchWanted[str | Vector] | InvalidRequest:
        """With its mode, or why it cannot be: by what is asked alone."""
        try:
            if wanted.metadata is not None:
                refuse_oversized(wanted.metadata)
            return await with_mode(wanted, have_words=self._cells.have_words)
        except InvalidRequest as error:
            return error

    def _report(self, answers: Sequence[SearchAnswer | VecSecError], visibility: Visibility) -> None:
        found = [each for each in answers if isinstance(each, SearchAnswer)]
        rows = sum(len(each.results) for each in found)
        visibility.count_rows(rows)
        for each in found:
            self._metrics.count_search(each.strategy, each.mode, each.filtered_rows)
        self._metrics.count_batch(len(answers))
        annotate_span(query_count=len(answers), failed_query_count=len(answers) - len(found), result_count=rows)


def refuse_too_many_rows(rows: int) -> None:
    """Hold a batch to its limit.

    Raises:
        InvalidRequest: if it asks for too many rows.
    """
    if rows > MOST_ROWS:
        raise InvalidRequest.of(
            "queries", f"ask for {rows:,} rows, offsets included; a batch may ask for {MOST_ROWS:,}"
        )


def _unseen(collection_id: str, mode: SearchMode) -> SearchAnswer | VecSecError:
    try:
        refuse_unseen(collection_id)
    except VecSecError as error:
        return error
    return SearchAnswer((), NOTHING_VISIBLE, mode=mode)


def _that_fit(answers: Sequence[SearchAnswer | VecSecError], max_bytes: int) -> list[SearchAnswer | VecSecError]:
    """The same; those that a message has no room for are errors."""
    fitting: list[SearchAnswer | VecSecError] = []
    total = 0
    for answer in answers:
        size = _size(answer)
        if total + size > max_bytes:
            fitting.append(
                LimitExceeded(
                    f"the batch's answer would be larger than {max_bytes} bytes; ask for fewer documents, or this alone"
                )
            )
            continue
        total += size
        fitting.append(answer)
    return fitting


def _size(answer: SearchAnswer | VecSecError) -> int:
    if not isinstance(answer, SearchAnswer):
        return 0
    documents = [each.document for each in answer.results]
    return sum(label_size(each.label) + size_without_label(each) for each in documents)


def _without_strategy(answer: SearchAnswer | VecSecError) -> SearchAnswer | VecSecError:
    return replace(answer, strategy="") if isinstance(answer, SearchAnswer) else answer
