"""Blocks as passages: along headings, then by length, with some of what came before where a section is cut."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vecsec_client.splitting.blocks import Block, Kind, broken

DEFAULT_SIZE = 2000
DEFAULT_OVERLAP = 200
_GAP = "\n\n"
_SENTENCE_END = re.compile(r"(?<=[.!?…:;])[\"')\]]*\s+|\n+")
_WORD_END = re.compile(r"\s+")
_SHOWN_HEADING = 120
_PASSAGES_A_WHOLE = 4
_SMALL = 4


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long passages may be, in characters."""

    size: int = DEFAULT_SIZE
    """A text up to this long is one passage."""
    overlap: int = DEFAULT_OVERLAP
    """How much of one passage the next one of its section repeats, at most."""

    def __post_init__(self) -> None:
        """Refuse what leaves no room for a text of its own.

        Raises:
            ValueError: naming what is wrong.
        """
        if not 100 <= self.size <= 100_000:
            raise ValueError(f"a passage has 100 to 100,000 characters, not {self.size:,}")
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"the overlap is 0 to half of the size ({self.size // 2:,}), not {self.overlap:,}")

    @property
    def longest_whole(self) -> int:
        """What is kept whole up to this length: code, tables, lists."""
        return _PASSAGES_A_WHOLE * self.size


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text that is stored, embedded and found by itself."""

    body: str
    headings: tuple[str, ...] = ()
    """The headings that it stands below, outermost first, but for those in its body."""
    repeated: int = 0
    """With how many characters of the passage before it begins."""
    page: int | None = None
    """Where it begins in a source of pages, from 1."""


def passages(blocks: Iterable[Block], lengths: Lengths) -> Iterator[Passage]:
    """Pack blocks. Short sources are one passage; no heading is a passage by itself unless there is nothing else."""
    packer = _Packer(lengths)
    held: Passage | None = None
    for block in _short_as_one(blocks, lengths):
        for passage in packer.add(block):
            if held is not None:
                yield held
            held = passage
    last = packer.rest()
    if last is not None and held is not None and not packer.has_body:
        yield replace(held, body=f"{held.body}{_GAP}{last.body}")
        return
    yield from (each for each in (held, last) if each is not None)


def cut_text(text: str, longest: int) -> Iterator[str]:
    """Cut running text: behind sentences, else between words, else anywhere."""
    start = 0
    while len(text) - start > longest:
        part = text[start : start + longest + 1]
        cut = _last_end(_SENTENCE_END, part, longest // 2) or _last_end(_WORD_END, part, longest // 2) or longest
        if text[start : start + cut].strip():
            yield text[start : start + cut].strip()
        start += cut
    if text[start:].strip():
        yield text[start:].rstrip() if not start else text[start:].strip()


def _last_end(pattern: re.Pattern[str], text: str, earliest: int) -> int:
    last = 0
    for found in pattern.finditer(text, earliest):
        if found.end() <= len(text) - 1:
            last = found.end()
    return last


def _short_as_one(blocks: Iterable[Block], lengths: Lengths) -> Iterator[Block]:
    """The same blocks, or all of a short source as one."""
    start: list[Block] = []
    total = 0
    stream = iter(blocks)
    for block in stream:
        start.append(block)
        total += len(block.text) + len(_GAP)
        if total - len(_GAP) > lengths.size:
            yield from start
            yield from stream
            return
    if start:
        yield Block(Kind.WHOLE, _GAP.join(block.text for block in start), page=start[0].page)


@dataclass(slots=True)
class _Packer:
    lengths: Lengths
    has_body: bool = False
    """Whether the open passage has more than headings."""
    _parts: list[str] = field(default_factory=list)
    _length: int = 0
    _repeated: int = 0
    _begins_at_level: int = 0
    """Of the heading that the open passage begins with; 0 if it begins with none."""
    _above: tuple[str, ...] = ()
    _page: int | None = None
    _path: list[tuple[int, str]] = field(default_factory=list)
    _last_text: str = ""
    """The running text that the open passage ends with, which the next may repeat."""

    def add(self, block: Block) -> Iterator[Passage]:
        """Take a block; the passages that it completes."""
        if block.kind is Kind.HEADING:
            yield from self._add_heading(block)
        elif block.kind is Kind.WHOLE:
            for piece in broken(block, self.lengths.longest_whole):
                yield from self._add_body(piece)
        elif len(block.text) <= self.lengths.size:
            yield from self._add_body(block)
        else:
            for text in cut_text(block.text, self.lengths.size - self.lengths.overlap - len(_GAP)):
                yield from self._add_body(replace(block, text=text))

    def rest(self) -> Passage | None:
        """The open passage, closed."""
        if not self._parts:
            return None
        passage = Passage(_GAP.join(self._parts), self._above, self._repeated, self._page)
        self._parts, self._length, self._repeated, self._begins_at_level = [], 0, 0, 0
        return passage

    def _add_heading(self, block: Block) -> Iterator[Passage]:
        joins = self._begins_at_level and block.level >= self._begins_at_level
        is_small = self._length + len(block.text) <= self.lengths.size // _SMALL
        if self.has_body and not (joins and is_small):
            yield from self._closed()
        while self._path and self._path[-1][0] >= block.level:
            self._path.pop()
        if not self._parts:
            self._begins_at_level = block.level
        self._append(block)
        self._path.append((block.level, block.title[:_SHOWN_HEADING]))
        self._last_text = ""

    def _add_body(self, block: Block) -> Iterator[Passage]:
        room = self.lengths.size - self._length - len(_GAP)
        if self.has_body and len(block.text) > room:
            last_text = self._last_text
            yield from self._closed()
            self._repeat(last_text, self.lengths.size - len(block.text) - len(_GAP))
        self._append(block)
        self.has_body = True
        self._last_text = block.text if block.kind is Kind.TEXT else ""

    def _closed(self) -> Iterator[Passage]:
        passage = self.rest()
        self.has_body = False
        if passage is not None:
            yield passage

    def _repeat(self, text: str, room: int) -> None:
        """Begin the new passage with the end of a text."""
        longest = min(self.lengths.overlap, room)
        tail = text[-longest:] if 0 < longest < len(text) else ""
        begin = next(
            (m.end() for p in (_SENTENCE_END, _WORD_END) if (m := p.search(tail)) and m.end() < len(tail)), None
        )
        if begin is not None:
            repeated = tail[begin:].strip()
            self._begin_page_and_path(None)
            self._parts, self._length, self._repeated = [repeated], len(repeated), len(repeated)

    def _append(self, block: Block) -> None:
        if not self._parts:
            self._begin_page_and_path(block.page)
        self._page = self._page or block.page
        self._length += len(block.text) + (len(_GAP) if self._parts else 0)
        self._parts.append(block.text)

    def _begin_page_and_path(self, page: int | None) -> None:
        self._above = tuple(title for _, title in self._path if title)
        self._page = page
