"""Markdown as blocks, by a parser that knows where fences, tables and lists end.

The parser is given a window of the text at a time: what it keeps of a text takes a hundred times the text's room. All
blocks of a window but the last are certain, for what follows can only go on with the last; the next window begins with
that.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from vecsec_client.splitting.blocks import Block, Kind

_WINDOW = 32 << 10
_WIDEST = 512 << 10
"""A block of more characters is taken for two."""
_LONGEST_HEADING = 300
_CONTAINERS = ("bullet_list_open", "ordered_list_open", "blockquote_open", "list_item_open")

_parser = MarkdownIt("commonmark", {"html": True}).enable("table")
_parser.core.ruler.enableOnly(["block"])  # what stands in a line is of no interest


def blocks(text: str, longest: int) -> Iterator[Block]:
    """The blocks of a text, each as it stands there; of lists and quotations longer than `longest`, also the parts."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start, width = 0, _WINDOW
    while start < len(text):
        line_end = text.find("\n", start + width)
        window = _Window(text[start : line_end + 1] if line_end != -1 else text[start:], longest)
        is_last = line_end == -1 or line_end + 1 == len(text)
        end = len(window.text) if is_last else window.certain_end
        if not end and width < _WIDEST:
            width *= 2
            continue
        end = end or len(window.text)
        yield from window.blocks(end)
        start, width = start + end, _WINDOW


@dataclass(frozen=True, slots=True)
class _Span:
    """A token that opens a block, with what is in the block."""

    opener: Token
    inner: Sequence[Token]
    first: int
    last: int
    """The line after its last."""


class _Window:
    def __init__(self, text: str, longest: int) -> None:
        self.text = text
        self._longest = longest
        self._starts = [0]
        while (end := text.find("\n", self._starts[-1])) != -1:
            self._starts.append(end + 1)
        self._spans = _spans(_parser.parse(text))

    @property
    def certain_end(self) -> int:
        """Where the last block begins; 0 if there is one alone, or nothing that the parser calls a block."""
        return self._offset(self._spans[-1].first) if self._spans else 0

    def blocks(self, end: int) -> Iterator[Block]:
        """The blocks before a position at which one begins."""
        last = bisect_right(self._starts, end - 1)
        yield from self._covered(0, last, [span for span in self._spans if span.first < last])

    def _covered(self, first: int, last: int, spans: Sequence[_Span]) -> Iterator[Block]:
        """The blocks of some lines; those of no span, such as definitions of links, are text."""
        for span in spans:
            yield from self._text(first, span.first)
            if span.last > first:  # a block may begin in the line in which the one before ends
                yield from self._block(span, max(first, span.first))
                first = span.last
        yield from self._text(first, last)

    def _block(self, span: _Span, first: int) -> Iterator[Block]:
        text = self._slice(first, span.last)
        opener = span.opener
        if opener.type == "heading_open" and len(text) <= _LONGEST_HEADING:
            title = " ".join(span.inner[0].content.split()) if span.inner else ""
            yield Block(Kind.HEADING, text, level=int(opener.tag[1]), title=title)
        elif opener.type in {"heading_open", "paragraph_open", "hr"}:
            yield from self._text(first, span.last)
        elif opener.type == "fence":
            yield self._fence(span, text)
        elif opener.type == "table_open":
            yield Block(Kind.WHOLE, text, opening=self._slice(first, min(first + 2, span.last)) + "\n")
        elif opener.type in _CONTAINERS and len(text) > self._longest:
            yield Block(Kind.WHOLE, text, parts=tuple(self._covered(first, span.last, _spans(span.inner))))
        elif text:
            yield Block(Kind.WHOLE, text)

    def _fence(self, span: _Span, text: str) -> Block:
        opening, _, rest = text.partition("\n")
        closing = rest.rpartition("\n")[2]
        is_closed = closing.strip(" \t>").startswith(span.opener.markup)
        return Block(
            Kind.WHOLE, text, opening=f"{opening}\n", closing="\n" + (closing if is_closed else span.opener.markup)
        )

    def _text(self, first: int, last: int) -> Iterator[Block]:
        text = self._slice(first, last)
        if text.strip():
            yield Block(Kind.TEXT, text)

    def _slice(self, first: int, last: int) -> str:
        """Lines without the blank ones around them; the first one's indentation stays."""
        text = self.text[self._offset(first) : self._offset(last)].rstrip()
        return text[len(text) - len(text.lstrip()) :] if not text else text[_blank_lines(text) :]

    def _offset(self, line: int) -> int:
        return self._starts[line] if line < len(self._starts) else len(self.text)


def _blank_lines(text: str) -> int:
    """How many characters the blank lines before a text have."""
    return text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1


def _spans(tokens: Sequence[Token]) -> list[_Span]:
    """The outermost blocks of some tokens."""
    found: list[_Span] = []
    index = 0
    while index < len(tokens):
        opener, end = tokens[index], index
        if opener.nesting == 1:
            while tokens[end].nesting != -1 or tokens[end].level != opener.level:
                end += 1
        if opener.map is not None:
            found.append(_Span(opener, tokens[index + 1 : end], opener.map[0], opener.map[1]))
        index = end + 1
    return found
