"""What a call costs, in units of a plain search: k = 10, no filter. Pure.

The numbers are measured (`make bench ARGS="--only dear-calls"`): what all three processes spend on a call, beside a
plain search. They need not be exact. They keep a call that takes as much as a hundred from counting as one.
"""

import re
from collections.abc import Sequence

from vecsec_gateway.peers.contract import BY_VECTORS_ALONE, BatchQuery, MetadataFilter, Search, SearchBatch

PLAIN = 1.0
DEAR = 5.0
"""From here on a call is charged to its caller, too."""

_ROWS_A_UNIT = 150
_EMBEDDINGS_A_UNIT = 75
_FILTER_BYTES_A_UNIT = 4_000
_EXPLAINED_BYTES_A_UNIT = 4_000
_LISTED_A_UNIT = 1_000
_QUERY_OF_A_BATCH = 0.25
"""What is left of a search where token, plan, check and messages are shared: 0.16 in small collections, more in large
ones, whose scan is not shared as well."""
_TEXT_CONDITION = 4.0
_ANOTHER_TEXT_CONDITION = 0.5
"""A filter that looks at texts reads those of all rows that it has to; for each further condition, once."""
_WORDS = 0.5
_QUERY_BYTES_A_UNIT = 400
_MOST_QUERY_BYTES = 1_200
"""To look for words, too, and for many; of a query no more than the first 128 are looked for."""
_PHRASES = 10.0
"""Looked for in 8 MiB of texts at most: from a tenth of that for a few thousand short texts to four times as much."""
_QUOTE = re.compile('["\uff02\u201c\u201d\u201e\u201f\u00ab\u00bb\u301d\u301e\u301f]')
"""Two of them make a phrase."""
_DEEPEST_FILTER = 8
_DISTINCT_FACTOR = 4
_DISTINCT_SEARCHES = 2
"""One where texts differ, up to six where hardly any does."""
_MOST_DISTINCT_ROWS = 4_000
SELECTION = 5.0
"""To look at all rows that the caller may see, and to change those that match."""
REREAD = 20.0
EXPORT_PAGE = 25.0
VIOLATIONS = 5.0
COLLECTIONS = 2.0
STATUS = 1.0


def search_cost(k: int, condition: MetadataFilter, *, embeddings: bool) -> float:
    """A search by vectors for k rows under a filter, which may be empty."""
    return PLAIN + _rows(k, embeddings=embeddings) + _filter(condition)


def whole_search_cost(search: Search | BatchQuery, *, embeddings: bool) -> float:
    """A search with all that it asks for."""
    depth = _ranked_rows(search.offset + search.k, distinct_texts=search.distinct_texts)
    searches = _DISTINCT_SEARCHES if search.distinct_texts else 1
    looking = PLAIN + _filter(search.filter) + _words(search)
    return searches * looking + _rows(depth, embeddings=embeddings)


def _words(search: Search | BatchQuery) -> float:
    text = search.query.text
    if not text or search.mode == BY_VECTORS_ALONE:
        return 0.0
    has_phrases = len(_QUOTE.findall(text)) > 1
    return _WORDS + min(len(text), _MOST_QUERY_BYTES) / _QUERY_BYTES_A_UNIT + (_PHRASES if has_phrases else 0.0)


def _filter(condition: MetadataFilter) -> float:
    count = _text_conditions(condition)
    of_texts = _TEXT_CONDITION + (count - 1) * _ANOTHER_TEXT_CONDITION if count else 0.0
    return condition.ByteSize() / _FILTER_BYTES_A_UNIT + of_texts


def _text_conditions(condition: MetadataFilter) -> int:
    """How many times a filter looks at texts; what is nested deeper than any filter may be does not count."""
    waiting, found = [(condition, 1)], 0
    while waiting:
        part, depth = waiting.pop()
        found += part.HasField("text_contains")
        if depth < _DEEPEST_FILTER:
            waiting += [(each, depth + 1) for each in _parts(part)]
    return found


def _parts(condition: MetadataFilter) -> Sequence[MetadataFilter]:
    match condition.WhichOneof("condition"):
        case "all_of":
            return condition.all_of.filters
        case "any_of":
            return condition.any_of.filters
        case "not":
            return [getattr(condition, "not").filter]
    return ()


def _ranked_rows(depth: int, *, distinct_texts: bool) -> int:
    """How many rows are ranked for an answer that goes so deep: of equal texts, further ones are."""
    return min(depth * _DISTINCT_FACTOR, _MOST_DISTINCT_ROWS) if distinct_texts else depth


def batch_cost(batch: SearchBatch) -> float:
    """All of its queries, each of which counts, and what they share once."""
    return PLAIN + sum(
        _QUERY_OF_A_BATCH - PLAIN + whole_search_cost(query, embeddings=batch.include_embeddings)
        for query in batch.queries
    )


def lookup_cost(id_count: int, *, embeddings: bool = False) -> float:
    """Reading or deleting so many rows by id."""
    return PLAIN + _rows(id_count, embeddings=embeddings)


def listing_cost(page_size: int, condition: MetadataFilter | None = None, *, count: bool = False) -> float:
    """A page of so many ids or labels, under a filter; a short page is looked for as long as a long one. To count all
    of them is to look once more."""
    of_filter = 0.0 if condition is None else _filter(condition)
    return (3 if count else 2) * PLAIN + page_size / _LISTED_A_UNIT + of_filter


def explain_cost(request_bytes: int) -> float:
    """Explaining what a request of so many bytes asks."""
    return 2 * PLAIN + request_bytes / _EXPLAINED_BYTES_A_UNIT


def _rows(count: int, *, embeddings: bool) -> float:
    return count / _ROWS_A_UNIT + (count / _EMBEDDINGS_A_UNIT if embeddings else 0.0)
