"""HTML: headings, paragraphs, lists, tables and preformatted text, written as Markdown has them."""

from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain

from vecsec_cli.importing.readers.reading import Reading
from vecsec_client.splitting.blocks import Block, Kind, heading, table

_IGNORED = frozenset({"script", "style", "template", "svg", "math", "head", "noscript"})
_BREAKS = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "br",
            "caption",
            "center",
            "dd",
            "details",
            "dialog",
            "dir",
        ),
        *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html"),
        *("legend", "main", "menu", "nav", "noframes", "optgroup", "option", "p", "search", "section", "select"),
        *("summary", "textarea"),
    }
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset({"ul", "ol"})
_CELLS = frozenset({"td", "th"})
_CHUNK = 64 << 10


def read(text: str, longest: int) -> Reading:
    """Read a page's text."""
    page = _Page()
    parts = _fed(page, text)
    first = next(parts, [])  # the title stands before all else
    return Reading(chain(first, chain.from_iterable(parts)), title=" ".join(page.title.split()))


def _fed(page: "_Page", text: str) -> Iterator[list[Block]]:
    """The blocks, some at a time: all of a large page would take more room than the page."""
    for start in range(0, len(text), _CHUNK):
        page.feed(text[start : start + _CHUNK])
        found = page.taken()
        if found:
            yield found
    page.close()
    page.finish()
    yield page.taken()


class _Page(HTMLParser):
    """Collects blocks while tags go by. What is open is a depth and not a tree: pages of the world close nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._blocks: list[Block] = []
        self._text: list[str] = []
        self._ignored = ""
        self._ignored_depth = 0
        self._in_title = False
        self._heading = 0
        self._preformatted = 0
        self._lists: list[str] = []
        self._items: list[str] = []
        self._tables = 0
        self._rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        elif self._ignored:
            self._ignored_depth += tag == self._ignored
            if self._ignored == "head" and (tag == "body" or tag in _HEADINGS or tag == "p"):
                self._ignored = ""  # a head that was never closed
        elif tag in _IGNORED:
            self._ignored, self._ignored_depth = tag, 1
        elif tag == "pre":
            self._end_block()
            self._preformatted += 1
        elif tag in _HEADINGS and not self._tables:
            self._end_lists()
            self._heading = _HEADINGS[tag]
        else:
            self._start_part(tag)

    def _start_part(self, tag: str) -> None:
        if tag == "table":
            if not self._tables:
                self._end_lists()
            self._tables += 1
        elif tag == "tr" and self._tables == 1:
            self._end_cell()
            self._rows.append([])
        elif tag in _CELLS and self._tables == 1:
            self._end_cell()
            if not self._rows:
                self._rows.append([])
            self._rows[-1].append("")
        elif tag in _LISTS and not self._tables:
            self._end_block()
            self._lists.append(tag)
        elif tag == "li" and not self._tables:
            self._end_block()
            self._lists = self._lists or ["ul"]
            self._items.append("")
        elif tag in _BREAKS or tag in _LISTS or tag == "li":
            self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif self._ignored:
            self._ignored_depth -= tag == self._ignored
            if self._ignored_depth <= 0:
                self._ignored = ""
        elif tag == "pre":
            self._end_block()
            self._preformatted = max(0, self._preformatted - 1)
        else:
            self._end_part(tag)

    def _end_part(self, tag: str) -> None:
        if tag in _HEADINGS and not self._tables:
            self._end_block()
            self._heading = 0
        elif tag == "table" and self._tables:
            if self._tables == 1:
                self._end_table()
            self._tables -= 1
        elif tag in _LISTS and self._lists and not self._tables:
            self._end_block()
            self._lists.pop()
            if not self._lists:
                self._end_lists()
        elif tag in _BREAKS:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._ignored:
            self._text.append(data)

    def finish(self) -> None:
        """Close what is still open."""
        if self._tables:
            self._end_table()
        self._end_lists()

    def taken(self) -> list[Block]:
        """The blocks that are whole by now, but for those that were taken before."""
        blocks, self._blocks = self._blocks, []
        return blocks

    def _break(self, tag: str) -> None:
        if self._preformatted or self._tables:
            self._text.append("\n" if self._preformatted else " ")
        elif tag == "br" or self._lists:
            self._text.append("\n")
        else:
            self._end_block()

    def _end_block(self) -> None:
        """Close the paragraph, heading, item or preformatted text that is open."""
        raw, self._text = "".join(self._text), []
        if self._tables:
            self._text = [raw]
        elif self._preformatted:
            self._end_preformatted(raw.strip("\n").rstrip())
        elif self._lists:
            self._add_to_item(" ".join(raw.split()))
        elif self._heading and raw.strip():
            self._blocks.append(heading(raw, self._heading))
        else:
            lines = (" ".join(line.split()) for line in raw.split("\n\n"))
            self._blocks += [Block(Kind.TEXT, line) for line in lines if line]

    def _end_preformatted(self, text: str) -> None:
        if not text.strip():
            return
        if self._lists:
            self._add_to_item(text.replace("\n", "\n  "))
            return
        fence = "```"
        while fence in text:
            fence += "`"
        self._blocks.append(Block(Kind.WHOLE, f"{fence}\n{text}\n{fence}", opening=f"{fence}\n", closing=f"\n{fence}"))

    def _add_to_item(self, text: str) -> None:
        if not text:
            return
        if self._items and not self._items[-1]:
            self._items[-1] = f"{'  ' * (len(self._lists) - 1)}- {text}"
        else:
            self._items.append(f"{'  ' * len(self._lists)}{text}" if self._items else text)

    def _end_lists(self) -> None:
        """Close all lists; their items are one block."""
        self._end_block()
        items = [item for item in self._items if item]
        self._lists, self._items = [], []
        if items:
            parts = tuple(Block(Kind.TEXT, item) for item in items) if len(items) > 1 else ()
            self._blocks.append(Block(Kind.WHOLE, "\n".join(items), parts=parts))

    def _end_cell(self) -> None:
        raw, self._text = " ".join("".join(self._text).split()), []
        if raw and self._rows and self._rows[-1]:
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {raw}".strip()
        elif raw:
            self._blocks.append(Block(Kind.TEXT, raw))

    def _end_table(self) -> None:
        self._end_cell()
        rows, self._rows = self._rows, []
        if any(len(row) > 1 for row in rows):
            made = table(iter(rows))
            if made is not None:
                self._blocks.append(made)
        else:  # a table of one column is how old pages are laid out
            self._blocks += [Block(Kind.TEXT, cell) for row in rows for cell in row if cell]
