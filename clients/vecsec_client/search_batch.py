"""Several searches in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import batch_pb2
from vecsec_client.calls import Exchange, fill_query
from vecsec_client.connection import CallDefaults
from vecsec_client.errors import InvalidArgument
from vecsec_client.filters import MetadataFilter
from vecsec_client.results import BatchAnswer
from vecsec_client.values import SearchMode, SearchModeWord
from vecsec_client.wire import answers
from vecsec_client.wire.values import fill, mode_number, naming


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """One query of a batch; see `search` for what the fields mean."""

    query: str | Sequence[float]
    """A text, or a vector of the collection's own model."""
    k: int = 10
    collection: str = ""
    filter: MetadataFilter | None = None
    mode: SearchMode | SearchModeWord = SearchMode.AUTO
    min_score: float | None = None
    offset: int = 0
    distinct_texts: bool = False


def search_batch(
    defaults: CallDefaults,
    queries: Sequence[SearchQuery | str],
    *,
    tenant: str | None = None,
    allow_mock: bool | None = None,
    include_embeddings: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.SearchDocumentsBatchResponse, BatchAnswer]:
    """Answer up to 32 queries in collections of one tenant at once, each as a search by itself would be.

    A query that cannot be answered has a `failure` in its place; the others are answered all the same.

    Args:
        queries: what to look for; a text stands for a `SearchQuery` of it. All `k` and `offset` may be 1,000 together.
        tenant: the tenant to search.
        allow_mock: whether made-up rows are an answer when real retrieval is off or out of reach; see `search`.
        include_embeddings: whether to return embeddings; only for roles that may configure.
        timeout: seconds for the call with all its retries.

    Raises:
        RealRetrievalUnavailable: if there is nothing real and made-up rows are not allowed; its `mock_reason` says why.
        VecSecError: in the subclass for the kind of failure.
    """
    if isinstance(queries, str):  # the letters of which would be taken for queries
        raise InvalidArgument.of("queries", f"must be a list, not the one text {queries[:80]!r}; see search()")
    mock_allowed = defaults.mock_allowed(allow_mock)
    request = gateway_pb2.SearchDocumentsBatchRequest(
        fallback=gateway_pb2.FALLBACK_MOCK if mock_allowed else gateway_pb2.FALLBACK_NONE,
    )
    fill(request, tenant_id=defaults.tenant_of(tenant), include_embeddings=include_embeddings)
    for number, query in enumerate(queries):
        _fill(request.queries.add(), query if isinstance(query, SearchQuery) else SearchQuery(query=query), number)
    read = answers.batch_answer if mock_allowed else answers.real_batch_answer
    return Exchange("SearchDocumentsBatch", request, read, timeout)


def _fill(message: batch_pb2.BatchQuery, query: SearchQuery, number: int) -> None:
    path = f"queries[{number}]."
    with naming(path.rstrip(".")):
        fill(message, collection_id=query.collection, k=query.k, offset=query.offset)
        fill(message, distinct_texts=query.distinct_texts, mode=mode_number(query.mode))
        if query.min_score is not None:
            fill(message, min_score=query.min_score)
    fill_query(message, query.query, query.filter, path)
