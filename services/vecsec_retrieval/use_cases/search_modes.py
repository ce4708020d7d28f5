"""By what is searched: callers choose it, or leave it open. It depends on the query and on the store's kind, and on
nothing that is stored: it would tell of hidden rows."""

import asyncio
from dataclasses import replace

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_retrieval.model.rows import Vector
from vecsec_retrieval.use_cases.collection_search import SearchWanted
from vecsec_retrieval.words import TextQuery, words_of_query

_SPLIT_INLINE = 2_000
"""Characters of a query; its longest takes some ms."""


async def with_mode(wanted: SearchWanted[str | Vector], *, have_words: bool) -> SearchWanted[str | Vector]:
    """The same with a mode that is none but VECTOR, TEXT and HYBRID, and with the words that it takes.

    Raises:
        InvalidRequest: if what was chosen cannot be.
    """
    mode = mode_of(wanted, have_words=have_words)
    return replace(wanted, mode=mode, words=await _words_of(wanted.query, mode))


def mode_of(wanted: SearchWanted[str | Vector], *, have_words: bool) -> SearchMode:
    """What the mode comes to.

    Raises:
        InvalidRequest: if it cannot be.
    """
    if wanted.mode is SearchMode.VECTOR:
        return SearchMode.VECTOR
    if wanted.mode is SearchMode.AUTO:
        return SearchMode.HYBRID if have_words and isinstance(wanted.query, str) else SearchMode.VECTOR
    if not isinstance(wanted.query, str):
        raise InvalidRequest.of("mode", f"{wanted.mode.name} looks for words: send a text, or search with VECTOR")
    if not have_words:
        raise InvalidRequest.of(
            "mode", f"{wanted.mode.name} is not to be had: the store is a Chroma server; search with VECTOR or AUTO"
        )
    return wanted.mode


async def _words_of(query: str | Vector, mode: SearchMode) -> TextQuery | None:
    if not isinstance(query, str) or mode is SearchMode.VECTOR:
        return None
    words = words_of_query(query) if len(query) <= _SPLIT_INLINE else await asyncio.to_thread(words_of_query, query)
    if mode is SearchMode.TEXT and not words.words:
        raise InvalidRequest.of("query.text", "holds no word to look for")
    return words
