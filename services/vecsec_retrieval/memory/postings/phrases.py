"""Phrases: words that have to stand side by side, in their order. Postings do not know where in a text words are, so
that texts are looked at: those with the highest scores first, and no more than are wanted."""

from collections.abc import Callable, Sequence

from vecsec_retrieval.words import running_words_of_texts

MOST_TEXTS = 1_000
"""That are looked at for one search: each takes some tens of µs."""


def with_phrases(
    ranked: Sequence[tuple[int, float]],
    phrases: Sequence[tuple[str, ...]],
    count: int,
    text_of: Callable[[int], str],
) -> list[tuple[int, float]]:
    """The first rows, at most `count`, whose texts have all phrases; of the first `MOST_TEXTS`."""
    found: list[tuple[int, float]] = []
    looked_at = ranked[:MOST_TEXTS]
    texts = running_words_of_texts(text_of(row) for row, _ in looked_at)
    for (row, score), words in zip(looked_at, texts, strict=False):
        if all(_has(words, phrase) for phrase in phrases):
            found.append((row, score))
        if len(found) >= count:
            break
    return found


def _has(words: Sequence[str], phrase: tuple[str, ...]) -> bool:
    length = len(phrase)
    starts = (start for start, word in enumerate(words) if word == phrase[0])
    return any(tuple(words[start : start + length]) == phrase for start in starts)
