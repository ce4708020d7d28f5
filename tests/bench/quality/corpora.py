"""What is searched: texts that every machine has which ran `make`, and such as we wrote."""

import importlib
import inspect
import random
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

_ROOT = Path(__file__).parents[3]
_TEXTS = Path(__file__).parent / "texts"
_LONGEST = 1_500
"""Of a passage, in characters."""
_SHORTEST = 40
_PARTS = 1_500
_KINDS = ("pump", "valve", "bearing", "gasket", "filter", "sensor", "motor", "belt", "bracket", "fuse", "relay", "hose")
_USES = ("cooling circuits", "conveyors", "paint lines", "presses", "test benches", "cold stores", "lifts", "ovens")
_HOMES = ("builtins", "posix", "posixpath", "genericpath", "socket", "_sqlite3", "asyncio.tasks")
"""Of what modules offer as their own."""


@dataclass(frozen=True)
class Passage:
    """What an answer may be."""

    passage_id: str
    """Within its corpus. A question accepts it, or what is before its `#`."""
    text: str
    """As it is stored: its title is the first line."""


def python() -> list[Passage]:
    """What Python and NumPy say of their functions and classes, and Python's topics of help."""
    return [*_topics(), *_docstrings(), *_numpy()]


def decisions() -> list[Passage]:
    """This repository's decisions, by number."""
    files = sorted((_ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    return [
        Passage(f"{int(file.name[:4])}#{number}", piece)
        for file in files
        for number, piece in enumerate(_cut(file.read_text().splitlines()[0], file.read_text()))
    ]


def german() -> list[Passage]:
    """German passages that we wrote."""
    return _written("german")


def french() -> list[Passage]:
    """French passages that we wrote."""
    return _written("french")


def parts() -> list[Passage]:
    """A catalogue of parts whose numbers are alike."""
    generator = random.Random(19)
    numbers = list(dict.fromkeys(_part_number(generator) for _ in range(2 * _PARTS)))[:_PARTS]
    return [
        Passage(
            number,
            f"{number} {(kind := generator.choice(_KINDS))}\n"
            f"The {kind} {number} is for {generator.choice(_USES)}, weighs {generator.randint(1, 90) * 100} g and is "
            f"replaced after {generator.randint(1, 40) * 500} hours. Its successor is {generator.choice(numbers)}.",
        )
        for number in numbers
    ]


CORPORA = {each.__name__: each for each in (python, decisions, parts, german, french)}


def _part_number(generator: random.Random) -> str:
    letters = "".join(generator.choices("ABKX", k=2))
    digits = generator.randint(1000, 1399)
    match generator.randrange(3):
        case 0:
            return f"{letters}-{digits}/{generator.randint(1, 9)}"
        case 1:
            return f"{letters}{digits}-{generator.choice(string.ascii_uppercase)}{generator.randint(1, 9)}"
        case _:
            return f"{generator.randint(1, 9)}.{digits}.{letters}"


def _written(name: str) -> list[Passage]:
    passages = yaml.safe_load((_TEXTS / f"{name}.yaml").read_text())
    return [Passage(passage_id, text) for passage_id, text in passages.items()]


def _topics() -> Iterator[Passage]:
    topics = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        for number, piece in enumerate(_cut(f"help: {name}", text)):
            yield Passage(f"help:{name}#{number}", piece)


def _docstrings() -> Iterator[Passage]:
    seen: set[str] = set()
    for name in (_TEXTS / "modules.txt").read_text().split():
        module = importlib.import_module(name)
        yield from _documented(name, module, seen)
        for member, value in _public(module):
            if getattr(value, "__module__", name) in {name, f"_{name}", *_HOMES}:
                yield from _documented(f"{name}.{member}", value, seen)
                if inspect.isclass(value):
                    for method, function in _public(value):
                        yield from _documented(f"{name}.{member}.{method}", function, seen)


def _numpy() -> Iterator[Passage]:
    seen: set[str] = set()
    for module in (np, np.linalg, np.random, np.fft):
        for member, value in _public(module):
            yield from _documented(f"{module.__name__}.{member}", value, seen)


def _public(holder: object) -> Iterator[tuple[str, object]]:
    for name, value in sorted(vars(holder).items()):
        if not name.startswith("_") and callable(value):
            yield name, value


def _documented(name: str, value: object, seen: set[str]) -> Iterator[Passage]:
    text = inspect.getdoc(value)
    if text and len(text) >= _SHORTEST and text not in seen:
        seen.add(text)
        yield Passage(name, f"{name}\n{text}"[:_LONGEST])


def _cut(title: str, text: str) -> Iterator[str]:
    """Pieces of whole paragraphs, each under the title."""
    piece = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if piece and len(piece) + len(paragraph) > _LONGEST:
            yield f"{title}\n{piece}"
            piece = ""
        piece += f"{paragraph[:_LONGEST]}\n\n"
    if piece:
        yield f"{title}\n{piece}"
