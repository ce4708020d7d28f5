"""What is asked, and which passages answer it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.quality import corpora
from bench.quality.corpora import Passage

_TEXTS = Path(__file__).parent / "texts"
_IDENTIFIERS = 100


@dataclass(frozen=True)
class Question:
    """One question, of which each that is accepted is a right answer."""

    text: str
    corpus: str
    category: str
    accepted: frozenset[str]
    """Ids of passages, or what is before their `#`."""
    is_reported: bool
    """Whether its answers are reported; by the others weights were chosen, and words."""

    def accepts(self, passage_id: str) -> bool:
        """Whether the passage answers it."""
        return passage_id in self.accepted or passage_id.partition("#")[0] in self.accepted


def all_questions() -> list[Question]:
    """All of them; of each category every second one is reported."""
    written = [
        question
        for category, corpus in (
            ("natural", ""),
            ("exact", ""),
            ("typing", ""),
            ("german", "german"),
            ("french", "french"),
        )
        for question in _written(category, corpus)
    ]
    return [*written, *_identifiers(corpora.parts())]


def _written(category: str, corpus: str) -> Iterator[Question]:
    number = 0
    for line in (_TEXTS / f"questions-{category}.txt").read_text().splitlines():
        if line.startswith("["):
            corpus = line.strip("[]")
        elif line and not line.startswith("#"):
            text, _, accepted = line.rpartition(" => ")
            yield Question(text, corpus, category, frozenset(accepted.split()), is_reported=number % 2 == 1)
            number += 1


def _identifiers(parts: list[Passage]) -> Iterator[Question]:
    generator = random.Random(29)
    forms = ("{}", "{}", "part {}", "what is {} for", "weight of {}")
    for number, part in enumerate(generator.sample(parts, _IDENTIFIERS)):
        typed = part.passage_id
        match number % 8:
            case 5:
                typed = typed.lower()
            case 6:
                typed = typed.replace("-", "").replace("/", "")
            case 7:
                typed = typed.replace("-", " ")
        text = forms[number % len(forms)].format(typed)
        yield Question(text, "parts", "identifiers", frozenset([part.passage_id]), is_reported=number % 4 in {1, 2})
