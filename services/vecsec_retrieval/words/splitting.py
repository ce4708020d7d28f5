"""Where words begin and end, and what identifiers are made of.

`AB-1234/7` runs as `ab 1234 7`, so that a phrase finds it however it is joined. Beside that it is a word as a whole,
and so are `ab-1234` and the spellings without joints, `ab1234` and `ab12347`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vecsec_retrieval.words.normalising import folded
from vecsec_retrieval.words.scripts import LETTER, PICTURE, UNSPACED_OR_OTHER

LONGEST_WORD: Final = 64
"""In characters: the rest of a longer one, of base64 for instance, is left out."""
LONGEST_WHOLE: Final = 128
"""In characters: what is longer is found by its parts alone."""
_LONGEST_IDENTIFIER: Final = 1_024
"""In characters: what is longer has running words alone, and costs little."""
_MOST_SEGMENTS: Final = 12
"""Of a path, that it is a word as a whole; a longer one is found by its parts."""
_MOST_RUNS: Final = 3
"""Of letters or digits, in what is cut between them: of a hash, which has more, parts say nothing."""

_OPTION: Final = r"(?<!\S)--?(?=[^\W\d])"
_JOINED: Final = rf"{LETTER}+(?:(?:://|[-./:@+\\]{{1,2}}){LETTER}+)*(?:\+\+|#)?"
CHUNK: Final = re.compile(rf"(?:{_OPTION})?{_JOINED}|{PICTURE}")
"""Letters, and what joins them in identifiers, paths, versions and addresses; an option's dashes; C++ and C#."""
_SEGMENT: Final = re.compile(r"://|[/\\:@]+")
_PART: Final = re.compile(r"[^-.+_#/\\:@]+")
_HUMP: Final = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where `useState` and `HTTPServer` are cut."""
_CHANGE: Final = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_PLAIN: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_COMPOUND: Final = re.compile(r"[-_]*[^\W_]+(?:[-_]+[^\W_]+)+[-_]*")
_PART_NUMBER: Final = re.compile(r"(?=[^\d]*\d)[A-Z\d]+(?:[-./_:][A-Z\d]+)+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What stood between two spaces or signs, folded."""

    running: tuple[str, ...]
    """Its smallest parts, in order."""
    wholes: tuple[str, ...] = ()
    """Words that it is as a whole, or that larger parts of it are."""
    singles: tuple[str, ...] = ()
    """Of letters that run in pairs, each by itself."""


def split(chunk: str) -> Chunk:
    """The parts and wholes of what `CHUNK` matched in a composed text."""
    if _PLAIN.fullmatch(chunk):
        return Chunk((chunk.lower()[:LONGEST_WORD],))
    if chunk.isascii():
        return _identifier(chunk)
    return _together(
        [
            _unspaced(found[0]) if found["unspaced"] else _identifier(found[0])
            for found in UNSPACED_OR_OTHER.finditer(chunk)
        ]
    )


def _together(chunks: list[Chunk]) -> Chunk:
    return Chunk(
        tuple(word for each in chunks for word in each.running),
        tuple(word for each in chunks for word in each.wholes),
        tuple(letter for each in chunks for letter in each.singles),
    )


def _unspaced(letters: str) -> Chunk:
    """Pairs of neighbours: words of Chinese and Japanese cannot be told apart without a dictionary."""
    word = folded(letters)
    if len(word) == 1:
        return Chunk((word,))
    return Chunk(tuple(word[at : at + 2] for at in range(len(word) - 1)), singles=tuple(word))


def _identifier(chunk: str) -> Chunk:
    if len(chunk) > _LONGEST_IDENTIFIER:
        return Chunk(tuple(folded(each)[:LONGEST_WORD] for part in _PART.findall(chunk) for each in _smallest(part)))
    segments = [_segment(each) for each in _SEGMENT.split(chunk) if each]
    running = tuple(word for each in segments for word in each.running)
    wholes = [whole for each in segments for whole in each.wholes]
    if 1 < len(segments) <= _MOST_SEGMENTS:
        wholes += [folded(chunk), *_unjoined(chunk)]
    # What is one part is no word twice, unless its signs tell it from others: `c++`, `--quiet`.
    kept = dict.fromkeys(each for each in wholes if len(each) <= LONGEST_WHOLE and (each,) != running)
    return Chunk(running, tuple(kept))


def _segment(segment: str) -> Chunk:
    parts = _PART.findall(segment)
    if not parts:
        return Chunk(())
    running: list[str] = []
    wholes: list[str] = []
    for part in parts:
        smallest = [folded(each)[:LONGEST_WORD] for each in _smallest(part)]
        running += smallest
        if len(smallest) > 1:
            wholes.append(folded(part))
    if parts != [segment]:
        wholes += [folded(segment), *_unjoined(segment)]
    return Chunk(tuple(running), tuple(wholes))


def _unjoined(whole: str) -> Iterator[str]:
    """The spelling without joints: people write e-mail and AB-1234/7 without. Not of numbers, which would become
    others; nor of names with dots, and paths."""
    if len(whole) > LONGEST_WHOLE or not (_COMPOUND.fullmatch(whole) or _PART_NUMBER.fullmatch(whole)):
        return
    letters = "".join(_PART.findall(whole))
    if not letters.isdecimal():
        yield folded(letters)


def _smallest(part: str) -> list[str]:
    found: list[str] = []
    for hump in _HUMP.split(part):
        runs = _CHANGE.split(hump)
        found += runs if len(runs) <= _MOST_RUNS else [hump]
    return found
