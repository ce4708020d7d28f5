"""What is made of a ranking before it is an answer: how deep it begins, how good it has to be, equal texts once.

It works on what the caller may read alone, whatever ranked it: hidden rows take no place and are no text's first.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from vecsec_retrieval.model.rows import ScoredDocument
from vecsec_retrieval.search.reader import SearchAnswer

DEEPEST = 4_000
"""So many rows are looked at for different texts at most."""
_DEEPER = 4


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
    """The answer, of the `offset + k` best rows that were found; `find` finds more. More texts than `max_bytes` are not
    looked at."""
    wanted = shape.offset + k
    if shape.distinct_texts:
        found = await _of_distinct_texts(found, wanted, shape.min_score, find, max_bytes)
    results = found.results
    if shape.min_score is not None:
        results = [each for each in results if each.score >= shape.min_score]
    return replace(found, results=results[shape.offset : wanted])


async def _of_distinct_texts(
    found: SearchAnswer,
    wanted: int,
    min_score: float | None,
    find: Callable[[int], Awaitable[SearchAnswer]],
    max_bytes: int,
) -> SearchAnswer:
    """The best row of each text; further ones are read until there are enough, or no more."""
    depth = wanted
    while True:
        distinct = _first_of_each(found.results)
        is_over = len(found.results) < depth or (min_score is not None and found.results[-1].score < min_score)
        if len(distinct) >= wanted or is_over:
            break
        mean_bytes = 1 + sum(len(each.document.text) for each in found.results) // depth
        deeper = min(depth * _DEEPER, DEEPEST, max_bytes // mean_bytes)
        if deeper <= depth:
            break
        depth = deeper
        found = await find(depth)
    return replace(found, results=distinct[:wanted])


def _first_of_each(results: Iterable[ScoredDocument]) -> list[ScoredDocument]:
    first: dict[str, ScoredDocument] = {}
    for each in results:
        first.setdefault(each.document.text, each)
    return list(first.values())
