"""What a text is made of, in its order: headings, running text, and things that are kept whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto


class Kind(Enum):
    """What may be done with a block."""

    HEADING = auto()
    """Stays with what follows it."""
    TEXT = auto()
    """May be cut between sentences."""
    WHOLE = auto()
    """Code, a table, a list: cut only where it is far longer than a passage, and then between lines or items."""


@dataclass(frozen=True, slots=True)
class Block:
    """One of them."""

    kind: Kind
    text: str
    level: int = 0
    """Of a heading, from 1."""
    title: str = ""
    """What a heading says, without its marks."""
    opening: str = ""
    """What of a whole thing's beginning each of its pieces begins with: a fence, a table's head."""
    closing: str = ""
    """What each of its pieces ends with; the text itself may lack it at the end of a file."""
    parts: tuple["Block", ...] = ()
    """What a long list or quotation is made of."""
    page: int | None = None
    """Where it stands in a source of pages, from 1."""


def heading(title: str, level: int, *, page: int | None = None) -> Block:
    """A heading of a source that is no Markdown, written as Markdown has it."""
    shown = " ".join(title.split())
    return Block(Kind.HEADING, f"{'#' * level} {shown}", level=level, title=shown, page=page)


def table(rows: Iterable[list[str]], *, page: int | None = None) -> Block | None:
    """A table as Markdown has it, its first row as head; None if it has no cell with a text."""
    lines = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in rows if any(row)
    ]
    if not lines:
        return None
    columns = max(1, lines[0].replace("\\|", "").count("|") - 1)
    opening = f"{lines[0]}\n{'|' + ' --- |' * columns}\n"
    return Block(
        Kind.WHOLE, opening.rstrip("\n") + "".join(f"\n{line}" for line in lines[1:]), opening=opening, page=page
    )


def broken(block: Block, longest: int) -> Iterator[Block]:
    """The block, or, if it is a whole thing that is longer, pieces of it: each a whole thing by itself."""
    if block.kind is not Kind.WHOLE or len(block.text) <= longest:
        yield block
    elif block.parts:
        for part in block.parts:
            yield from broken(part, longest)
    else:
        opening, closing = block.opening, block.closing
        if len(opening) + len(closing) > longest // 2:
            opening = closing = ""  # a table's head of thousands of characters cannot stand in every piece
        inner = block.text[len(opening) :]
        inner = inner.removesuffix(closing) if closing else inner
        for piece in _line_pieces(inner, longest - len(opening) - len(closing)):
            yield replace(block, text=f"{opening}{piece}{closing}")


def _line_pieces(text: str, longest: int) -> Iterator[str]:
    """The text cut behind ends of lines, or anywhere in a line that is too long; the cut line ends are left out."""
    start = 0
    while len(text) - start > longest:
        line_end = text.rfind("\n", start + 1, start + longest + 1)
        end = line_end if line_end != -1 else start + longest
        if text[start:end].strip():
            yield text[start:end]
        start = end + (line_end != -1)
    if text[start:].strip():
        yield text[start:]
