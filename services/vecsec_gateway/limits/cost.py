"""What a call costs, in units of a plain search: k = 10, no filter. Pure.

The numbers are measured (`make bench ARGS="--only dear-calls"`): what all three processes spend on a call, beside a
plain search. They need not be exact. They keep a call that takes as much as a hundred from counting as one.
"""

from vecsec_gateway.peers.contract import SearchBatch

PLAIN = 1.0
DEAR = 5.0
"""From here on a call is charged to its caller, too."""

_ROWS_A_UNIT = 150
_EMBEDDINGS_A_UNIT = 75
_FILTER_BYTES_A_UNIT = 4_000
_EXPLAINED_BYTES_A_UNIT = 4_000
_LISTED_A_UNIT = 1_000
_DISTINCT_FACTOR = 4
_MOST_DISTINCT_ROWS = 4_000
SELECTION = 5.0
"""To look at all rows that the caller may see, and to change those that match."""
REREAD = 20.0
EXPORT_PAGE = 25.0
VIOLATIONS = 5.0
COLLECTIONS = 2.0
STATUS = 1.0


def search_cost(k: int, filter_bytes: int, *, embeddings: bool) -> float:
    """A search for k rows under a filter that takes so many bytes."""
    return PLAIN + _rows(k, embeddings=embeddings) + filter_bytes / _FILTER_BYTES_A_UNIT


def ranked_rows(depth: int, *, distinct_texts: bool) -> int:
    """How many rows are ranked for an answer that goes so deep: of equal texts, further ones are."""
    return min(depth * _DISTINCT_FACTOR, _MOST_DISTINCT_ROWS) if distinct_texts else depth


def batch_cost(batch: SearchBatch) -> float:
    """All of its queries: who asks in batches pays what others pay."""
    return sum(
        search_cost(
            ranked_rows(query.offset + query.k, distinct_texts=query.distinct_texts),
            query.filter.ByteSize(),
            embeddings=batch.include_embeddings,
        )
        for query in batch.queries
    )


def lookup_cost(id_count: int, *, embeddings: bool = False) -> float:
    """Reading or deleting so many rows by id."""
    return PLAIN + _rows(id_count, embeddings=embeddings)


def listing_cost(page_size: int, filter_bytes: int = 0, *, count: bool = False) -> float:
    """A page of so many ids or labels, under a filter that takes so many bytes; a short page is looked for as long as a
    long one. To count all of them is to look once more."""
    return (3 if count else 2) * PLAIN + page_size / _LISTED_A_UNIT + filter_bytes / _FILTER_BYTES_A_UNIT


def explain_cost(request_bytes: int) -> float:
    """Explaining what a request of so many bytes asks."""
    return 2 * PLAIN + request_bytes / _EXPLAINED_BYTES_A_UNIT


def _rows(count: int, *, embeddings: bool) -> float:
    return count / _ROWS_A_UNIT + (count / _EMBEDDINGS_A_UNIT if embeddings else 0.0)
