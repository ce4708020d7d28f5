"""Answers of searches in memory, for who asks the same again while nothing has changed: which rows, and their scores.

An answer follows from the rows of the index, what the caller sees of them, and the question. All three are in the key:
an acknowledged write or delete gives the index another state, and a policy that sees otherwise another residual. So is
the policy's version, and who asked (see `askers`). What is kept are row numbers: no text, no label, no vector. Whoever
takes an answer from here judges each row again before it is given (`hot_reader`), so that a mistake in a key could
cost rows, but show none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cachetools import LRUCache

from vecsec_chassis.cache_metrics import Lookups
from vecsec_retrieval.askers import Asker
from vecsec_retrieval.readers import SearchOrder
from vecsec_retrieval.residuals import Visibility

_BYTES_OF_AN_ANSWER = 800
_BYTES_OF_A_ROW = 64


class AnswerKey(NamedTuple):
    """What an answer follows from, and whose it is."""

    index_state: int
    """Of one collection of one tenant, between two changes; no other state of this process has the number."""
    asker: Asker
    policy_version: str
    residual: str
    question: bytes
    """Hash of the vector, k and the filter with the types of its values: for Python, 1 and True are the same."""

    @classmethod
    def of(cls, index_state: int, visibility: Visibility, order: SearchOrder) -> "AnswerKey":
        """The key of a search."""
        question = sha256(order.vector.tobytes())
        question.update(repr((order.k, order.metadata)).encode(errors="surrogatepass"))
        return cls(index_state, visibility.asker, visibility.policy_version, visibility.residual, question.digest())


@dataclass(frozen=True, slots=True)
class RememberedAnswer:
    """Which rows were found."""

    rows: Sequence[tuple[int, float]]
    """Row numbers of the index in that state, and cosine similarities, best first."""
    filtered_rows: int
    """Rows met that were left out because their label is not visible."""


class RememberedAnswers:
    """The answers of one process, while there is room; those that were not asked for longest have to go."""

    def __init__(self, limit_bytes: int) -> None:
        """At most so much memory; nothing is remembered if it is 0."""
        self._limit_bytes = limit_bytes
        self._answers: LRUCache[AnswerKey, tuple[RememberedAnswer, int]] = LRUCache(limit_bytes, getsizeof=_weight)
        self.lookups = Lookups()
        """How often an answer was at hand."""

    @property
    def is_on(self) -> bool:
        """Whether anything is remembered."""
        return self._limit_bytes > 0

    def find(self, key: AnswerKey) -> RememberedAnswer | None:
        """The answer, if it was kept and there is still room for it."""
        answer, _ = self._answers.get(key, (None, 0))
        self.lookups.count(found=answer is not None)
        return answer

    def keep(self, key: AnswerKey, answer: RememberedAnswer) -> None:
        """Remember an answer, unless it alone is more than there is room for."""
        size = _BYTES_OF_AN_ANSWER + len(key.residual) + _BYTES_OF_A_ROW * len(answer.rows)
        if size <= self._limit_bytes:
            self._answers[key] = answer, size


def _weight(entry: tuple[RememberedAnswer, int]) -> int:
    return entry[1]
