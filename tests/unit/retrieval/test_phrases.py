"""Phrases are looked for where all their words are, best first, and in so much of texts at most."""

import pytest
from unit.retrieval.test_bm25 import PUBLIC, SECRET, ask, scores_of
from unit.retrieval.worlds import DIMENSIONS, document, upsert

from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.postings import phrases


def index_of(*rows: tuple[str, str], hidden: int = 0, hidden_text: str = "alpha beta") -> CollectionIndex:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document(f"hidden{number}", of=SECRET, text=hidden_text) for number in range(hidden)])
    upsert(index, [document(row_id, text=text) for row_id, text in rows])
    return index


async def test_a_phrase_is_found_however_many_others_have_its_words_and_score_higher() -> None:
    others = [(f"other{number}", "alpha x beta") for number in range(1_500)]
    index = index_of(*others, ("long", "alpha beta " + "filler word " * 50))

    assert list(scores_of(await ask(index, '"alpha beta"', k=1))) == ["long"]
    assert list(scores_of(await ask(index, '"alpha beta" x', k=10))) == ["long"]


async def test_stems_are_no_words_of_phrases() -> None:
    index = index_of(("running", "we saw the running dogs"), ("run", "a run dog"))

    assert list(scores_of(await ask(index, '"run dog"'))) == ["run"]


async def test_texts_are_looked_at_until_there_was_enough_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x " * 5_000
    rows = [(f"row{number}", f"alpha x beta {long}") for number in range(9)]
    last = ("row9", f"alpha beta x {long} {long}")
    monkeypatch.setattr(phrases, "MOST_BYTES", 9 * 10_000)

    assert not scores_of(await ask(index_of(*rows, last), '"alpha beta"'))
    assert not scores_of(await ask(index_of(*rows, last, hidden=50), '"alpha beta"', residual=PUBLIC))
    fewer = index_of(*rows[1:], last, hidden=50)
    assert list(scores_of(await ask(fewer, '"alpha beta"', residual=PUBLIC))) == ["row9"], "the last as a whole"
    without_words = [(f"none{number}", f"alpha {long}") for number in range(50)]
    assert list(scores_of(await ask(index_of(*rows[1:], last, *without_words), '"alpha beta"'))) == ["row9"]


async def test_short_texts_count_for_more_than_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"row{number}", "alpha x beta") for number in range(10)]
    monkeypatch.setattr(phrases, "MOST_BYTES", 10 * phrases.LEAST_BYTES)

    assert not scores_of(await ask(index_of(*rows, ("found", "alpha beta x filler words")), '"alpha beta"'))
    assert scores_of(await ask(index_of(*rows[1:], ("found", "alpha beta x filler words")), '"alpha beta"'))
