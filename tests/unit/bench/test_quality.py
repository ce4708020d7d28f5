"""The questions of `make bench-quality`, and how answers are measured."""

import math
from collections import Counter

import pytest
from bench.quality import beside, corpora
from bench.quality.corpora import Passage
from bench.quality.measuring import Outcome, outcome, quality
from bench.quality.questions import Question, all_questions

_PASSAGES = [Passage(each, "") for each in ("one", "two#0", "two#1", "three")]
_QUESTION = Question("?", "any", "natural", frozenset({"one", "two"}), is_reported=True)


@pytest.fixture(scope="module")
def texts() -> beside.Corpora:
    return {name: make() for name, make in corpora.CORPORA.items()}


def test_each_question_has_an_answer_among_its_passages(texts: beside.Corpora) -> None:
    without = [each.text for each in all_questions() if not any(each.accepts(p.passage_id) for p in texts[each.corpus])]

    assert without == []


def test_half_of_each_category_is_reported() -> None:
    counts = Counter((each.category, each.is_reported) for each in all_questions())

    assert sum(counts.values()) >= 400
    assert all(abs(counts[category, True] - counts[category, False]) <= 1 for category, _ in counts)


def test_no_question_is_both_tuned_on_and_reported() -> None:
    tuned, reported = ({(q.corpus, q.text) for q in all_questions() if q.is_reported is part} for part in (False, True))

    assert not tuned & reported


def test_passages_are_the_same_at_every_time(texts: beside.Corpora) -> None:
    assert corpora.parts() == texts["parts"]
    assert len({each.passage_id for each in texts["parts"]}) == 1_500
    assert all(len({each.passage_id for each in passages}) == len(passages) for passages in texts.values())


def test_a_source_gains_once() -> None:
    best = 1 + 1 / math.log2(3)

    assert outcome(_QUESTION, ["two#1", "one"], _PASSAGES) == Outcome(1, 1.0)
    assert outcome(_QUESTION, ["two#1", "two#0", "three"], _PASSAGES) == Outcome(1, 1 / best)
    assert outcome(_QUESTION, ["three", "one"], _PASSAGES) == Outcome(2, (1 / math.log2(3)) / best)
    assert outcome(_QUESTION, ["three"], _PASSAGES) == Outcome(None, 0)


def test_quality_is_the_mean() -> None:
    found = quality([Outcome(1, 1.0), Outcome(4, 0.5), Outcome(None, 0.0), Outcome(10, 0.3)])

    assert (found.questions, found.hit_1, found.hit_5) == (4, 0.25, 0.5)
    assert found.mrr == pytest.approx((1 + 1 / 4 + 1 / 10) / 4)
    assert found.ndcg == pytest.approx(0.45)


def test_plain_bm25_finds_what_has_the_words() -> None:
    passages = [Passage("a", "a pump of steel"), Passage("b", "a pump a pump"), Passage("c", "nothing")]
    answer = beside.plain_bm25({"any": passages})

    assert answer(Question("Pump steel", "any", "exact", frozenset(), is_reported=True)) == ["a", "b"]
    assert answer(Question("valve", "any", "exact", frozenset(), is_reported=True)) == []
