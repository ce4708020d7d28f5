"""`python -m bench.quality.tuning`: how the part to tune on is answered with other weights than those in force.

Prints hit@1, hit@5 and MRR for BM25's constants, for constants and weights of ranks, and for scores mixed instead.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.quality import corpora
from bench.quality.bm25 import Bm25, best
from bench.quality.measuring import DEPTH, Outcome, outcome, quality
from bench.quality.questions import Question, all_questions
from vecsec_retrieval.model.embeddings import WordLlamaModel
from vecsec_retrieval.words import words_of_query, words_of_texts
from vecsec_retrieval.words.weights import LENGTH_NORMALISATION, SATURATION

_DEEP = 100
Scores = NDArray[np.float64]


class _Texts:
    """Words and vectors of one corpus."""

    def __init__(self, passages: Sequence[corpora.Passage], model: WordLlamaModel) -> None:
        self.passages = passages
        texts = [each.text for each in passages]
        self._words, self._model = Bm25(list(words_of_texts(texts))), model
        self._vectors = model.embed(texts)

    def by_words(
        self, text: str, saturation: float = SATURATION, normalisation: float = LENGTH_NORMALISATION
    ) -> Scores:
        words = words_of_query(text).words
        return self._words.scores(words, saturation=saturation, normalisation=normalisation)

    def by_vectors(self, text: str) -> Scores:
        similarities: Scores = np.maximum(self._vectors @ self._model.embed_query(text), 0).astype(np.float64)
        return similarities


def main() -> None:
    """Print everything."""
    model = WordLlamaModel()
    texts = {name: _Texts(make(), model) for name, make in corpora.CORPORA.items()}
    questions = [each for each in all_questions() if not each.is_reported]

    def show(name: str, scores: Callable[[_Texts, str], Scores]) -> None:
        found = [(each, _outcome(each, texts[each.corpus], scores)) for each in questions]
        cells = []
        for category in dict.fromkeys(each.category for each in questions):
            of = quality([result for each, result in found if each.category == category])
            cells.append(f"{category} {of.hit_1:.2f}/{of.hit_5:.2f}/{of.mrr:.2f}")
        of = quality([result for _, result in found])
        print(f"{name:32} all {of.hit_1:.2f}/{of.hit_5:.2f}/{of.mrr:.2f}  {'  '.join(cells)}", flush=True)

    for saturation, normalisation in product((0.6, 0.9, 1.2, 1.6, 2.0), (0.2, 0.4, 0.6, 0.75)):
        show(
            f"words: k1 {saturation}, b {normalisation}",
            lambda of, text, k1=saturation, b=normalisation: of.by_words(text, k1, b),
        )
    show("vectors", _Texts.by_vectors)
    for constant, weight in product((0.5, 1, 2, 5, 20, 60), (1.0, 1.5, 2.0, 3.0)):
        show(
            f"ranks: constant {constant}, text {weight}",
            lambda of, text, c=constant, w=weight: _ranks(of.by_vectors(text), c) + w * _ranks(of.by_words(text), c),
        )
    for share in (0.3, 0.4, 0.5, 0.6, 0.7):
        show(
            f"scores / best: text {share}",
            lambda of, text, s=share: (1 - s) * _of_best(of.by_vectors(text)) + s * _of_best(of.by_words(text)),
        )


def _outcome(question: Question, of: _Texts, scores: Callable[[_Texts, str], Scores]) -> Outcome:
    numbers = best(scores(of, question.text), DEPTH)
    return outcome(question, [of.passages[number].passage_id for number in numbers], of.passages)


def _ranks(scores: Scores, constant: float) -> Scores:
    worth = np.zeros(len(scores))
    for rank, number in enumerate(best(scores, _DEEP), 1):
        worth[number] = 1 / (constant + rank)
    return worth


def _of_best(scores: Scores) -> Scores:
    kept = np.zeros(len(scores))
    numbers = best(scores, _DEEP)
    if numbers:
        kept[numbers] = scores[numbers] / scores[numbers[0]]
    return kept


if __name__ == "__main__":
    main()
