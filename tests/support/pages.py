"""The pages that people read: their blocks of code, what is claimed about each, their links and anchors.

A bash or python block of README and docs is typed by `tests/e2e/test_pages.py`. Any other one, and those of the deploy
pages, which change the machine that they are typed on, carry an HTML comment above:

* `not run: WHY` says why nobody can run it here;
* `run by: TEST` names the test that does;
* `exit status: NUMBER` is how the block must end, where that is not 0;
* `read by: READER` names what parses a yaml, json or cedar block (see `READERS` of the test).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from support.runbook import STEPS, anchor

ROOT = Path(__file__).parents[2]
TYPED = frozenset({"bash", "python"})
READ = frozenset({"yaml", "json", "cedar"})
MARKERS = frozenset({"not run", "run by", "exit status", "read by"})
TESTED_PAGES = {
    ROOT / "deploy" / "RUNBOOK.md": "tests/deploy/test_runbook.py",
    ROOT / "deploy" / "grpcurl.md": "tests/deploy/test_grpcurl_cookbook.py",
}
"""Pages whose blocks say in their own words what they are for, and which a test of their own goes through whole."""
DEPLOY = ROOT / "deploy"

_MARKER = re.compile(r"<!-- ([a-z ]+): (.+?) -->")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block."""

    page: Path
    line: int
    language: str
    step: str
    """The word after the language; empty but in pages of `TESTED_PAGES`."""
    marker: str
    """Of the comment above; empty without one."""
    word: str
    """What the comment says."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_claimed_elsewhere(self) -> bool:
        """Whether it is not for `test_pages.py` to run or read."""
        return self.marker in {"not run", "run by"} or self.page.is_relative_to(DEPLOY)

    @property
    def problem(self) -> str:
        """What is wrong with what is said about it; empty for nothing."""
        if self.page in TESTED_PAGES:
            return "" if self.language == "bash" and self.step in STEPS else f"unknown step {self.step!r}"
        if self.language not in TYPED | READ | {"text"}:
            return f"unknown language {self.language!r}"
        return self._problem_of_marker() if self.marker else self._problem_without_marker()

    def _problem_of_marker(self) -> str:
        if self.marker not in MARKERS:
            return f"unknown marker {self.marker!r}"
        if self.marker == "run by" and not _reads(ROOT / self.word, self.page):
            return f"there is no test {self.word} that reads this page"
        if self.marker == "exit status" and self.page.is_relative_to(DEPLOY):
            return self._problem_without_marker()
        if self.marker == "exit status" and (self.language != "bash" or not self.word.isdigit()):
            return "an exit status is a number, below the comment comes bash"
        if self.marker == "read by" and self.language not in READ:
            return "a block that is typed is not read by anything"
        return ""

    def _problem_without_marker(self) -> str:
        if self.language in READ:
            return "neither read nor run by anything"
        if self.language in TYPED and self.page.is_relative_to(DEPLOY):
            return "blocks of deploy pages are not typed on whatever machine runs the tests"
        return ""


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path
    blocks: tuple[CodeBlock, ...]
    links: tuple[str, ...]
    anchors: tuple[str, ...]
    words: int
    """As `wc` counts them, blocks of code included."""

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def typed(self) -> list[CodeBlock]:
        """What a reader types, in the order of the page."""
        return [block for block in self.blocks if block.language in TYPED and not block.is_claimed_elsewhere]


def _reads(test: Path, page: Path) -> bool:
    return test.is_file() and page.name in test.read_text()


def read_page(path: Path) -> Page:
    """Raises FileNotFoundError if there is no such page."""
    text = path.read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [token for token in tokens if token.type == "inline"]
    return Page(
        path,
        blocks=tuple(
            _block(path, token, tokens[index - 1]) for index, token in enumerate(tokens) if token.type == "fence"
        ),
        links=tuple(link for token in inline for link in _links(token)),
        anchors=tuple(
            anchor(tokens[index + 1].content) for index, token in enumerate(tokens) if token.type == "heading_open"
        ),
        words=len(text.split()),
    )


def all_pages() -> list[Page]:
    """README, docs, deploy pages and those of clients, and what else lies at the top."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    files += (ROOT / "clients").rglob("*.md")
    return [read_page(path) for path in sorted(files)]


def _block(page: Path, token: Token, before: Token) -> CodeBlock:
    assert token.map is not None
    language, _, step = token.info.partition(" ")
    found = _MARKER.search(before.content) if before.type == "html_block" else None
    marker, word = found.groups() if found else ("", "")
    return CodeBlock(page, token.map[0] + 1, language, step.partition(" ")[0], marker, word, token.content)


def _links(token: Token) -> list[str]:
    return [
        str(child.attrs["href" if child.type == "link_open" else "src"])
        for child in token.children or ()
        if child.type in {"link_open", "image"}
    ]
