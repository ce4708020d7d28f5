"""How good answers are, in the usual figures."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.quality.corpora import Passage
from bench.quality.questions import Question

DEPTH = 10
"""So many answers are looked at."""


@dataclass(frozen=True)
class Outcome:
    """What became of one question."""

    rank: int | None
    """Of the first right answer, from 1; None if there is none among the first ten."""
    gain: float
    """nDCG@10: what right answers gain, each source once, as a share of what all of them could."""


@dataclass(frozen=True)
class Quality:
    """Means over questions, from 0 to 1."""

    questions: int
    hit_1: float
    """How often the first answer is right."""
    hit_5: float
    """How often one of the first five is."""
    mrr: float
    """One divided by the rank of the first right answer."""
    ndcg: float


def outcome(question: Question, answers: Sequence[str], passages: Iterable[Passage]) -> Outcome:
    """What a list of passages' ids, best first, is worth."""
    there_are = {source for each in passages if (source := _source(question, each.passage_id))}
    found: set[str] = set()
    rank, gain = None, 0.0
    for place, answer in enumerate(answers[:DEPTH], 1):
        source = _source(question, answer)
        if source and source not in found:
            found.add(source)
            rank = rank or place
            gain += _worth(place)
    return Outcome(rank, gain / sum(_worth(place) for place in range(1, min(DEPTH, len(there_are)) + 1)))


def quality(outcomes: Sequence[Outcome]) -> Quality:
    """The means."""
    ranks = [each.rank for each in outcomes if each.rank]
    return Quality(
        len(outcomes),
        sum(rank == 1 for rank in ranks) / len(outcomes),
        share_within(outcomes, 5),
        sum(1 / rank for rank in ranks) / len(outcomes),
        sum(each.gain for each in outcomes) / len(outcomes),
    )


def share_within(outcomes: Sequence[Outcome], places: int) -> float:
    """How many have a right answer within the first places."""
    return sum(each.rank is not None and each.rank <= places for each in outcomes) / len(outcomes)


def _source(question: Question, passage_id: str) -> str:
    if not question.accepts(passage_id):
        return ""
    return passage_id if passage_id in question.accepted else passage_id.partition("#")[0]


def _worth(place: int) -> float:
    return 1 / math.log2(place + 1)
