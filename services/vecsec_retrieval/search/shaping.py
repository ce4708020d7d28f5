"""What is made of a ranking before it is an answer: how deep it begins, how good it has to be, equal texts once.

It works on what the caller may read alone, whatever ranked it: hidden rows take no place and are no text's first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from vecsec_retrieval.model.rows import ScoredDocument
from vecsec_retrieval.search.reader import SearchAnswer

DEEPEST = 4_000
"""So many rows are looked at for different texts at most."""
TEXTS_LOOKED_AT = 8
"""So many answers' bytes of texts at most: of 16 MiB each, texts of 33 kB are looked at to the deepest."""
_DEEPER = 4
_READ_AT_ONCE = 256 * 1024
"""Characters that take less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is to be made of it."""

    offset: int = 0
    """So many of the best are left out."""
    min_score: float | None = None
    """Rows with a lower score are left out."""
    distinct_texts: bool = False
    """Of rows with equal texts the best is kept."""


async def shaped(
    found: SearchAnswer,
    k: int,
    shape: Shape,
    *,
    find: Callable[[int], Awaitable[SearchAnswer]],
    max_bytes: int,
) -> SearchAnswer:
    """The answer, of the `offset + k` best rows that were found; `find` finds more. `max_bytes` is what an answer may
    hold; to find different texts, `TEXTS_LOOKED_AT` times as much is read at once, copies and all."""
    wanted = shape.offset + k
    if shape.distinct_texts:
        found = await _of_distinct_texts(found, wanted, shape.min_score, find, max_bytes * TEXTS_LOOKED_AT)
    results = found.results
    if shape.min_score is not None:
        results = [each for each in results if each.score >= shape.min_score]
    return replace(found, results=results[shape.offset : wanted])


async def _of_distinct_texts(
    found: SearchAnswer,
    wanted: int,
    min_score: float | None,
    find: Callable[[int], Awaitable[SearchAnswer]],
    most_bytes: int,
) -> SearchAnswer:
    """The best row of each text; further ones are read until there are enough, or no more."""
    depth = wanted
    while True:
        distinct, read_bytes = await _first_of_each(found.results, wanted)
        is_over = len(found.results) < depth or (min_score is not None and found.results[-1].score < min_score)
        deeper = min(depth * _DEEPER, DEEPEST, most_bytes * depth // max(1, read_bytes))
        if len(distinct) >= wanted or is_over or deeper <= depth:
            return replace(found, results=distinct)
        depth = deeper
        found = replace(found, results=())  # the copies are let go of before more are read
        found = await find(depth)


async def _first_of_each(results: Sequence[ScoredDocument], wanted: int) -> tuple[list[ScoredDocument], int]:
    """The best rows of so many texts, and how many bytes all texts take, or a little less: in a thread where these are
    many, for each text is read as a whole."""
    size = sum(len(each.document.text) for each in results)
    if size > _READ_AT_ONCE:
        return await asyncio.to_thread(_firsts, results, wanted), size
    return _firsts(results, wanted), size


def _firsts(results: Sequence[ScoredDocument], wanted: int) -> list[ScoredDocument]:
    first: dict[bytes, ScoredDocument] = {}
    for each in results:
        first.setdefault(blake2b(each.document.text.encode(errors="surrogatepass")).digest(), each)
        if len(first) == wanted:
            break
    return list(first.values())
