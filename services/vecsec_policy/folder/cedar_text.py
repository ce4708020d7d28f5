"""Cuts a Cedar file into its policies, with line numbers, which Cedar's own parser does not give."""

import re
from dataclasses import dataclass
from pathlib import Path

# A semicolon ends a policy and stands nowhere else in Cedar's grammar, except inside comments and strings.
_COMMENT_STRING_OR_END = re.compile(r"""//[^\n]*|"(?:\\.|[^"\\])*"|;""", re.DOTALL)
_LEADING_BLANK = re.compile(r"(?:\s+|//[^\n]*)*")


@dataclass(frozen=True, slots=True)
class SourcedPolicy:
    """One policy as it stands in a file."""

    path: Path
    line: int
    """Where it starts, counted from 1."""
    text: str
    """From its first annotation or keyword to its semicolon."""

    @property
    def place(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.line}"


def split_policies(path: Path, text: str) -> list[SourcedPolicy]:
    """The policies of a Cedar file, in order. Text behind the last semicolon counts as one more, so that the parser
    gets to see and refuse it."""
    policies = []
    start = 0
    for match in _COMMENT_STRING_OR_END.finditer(text):
        if match.group() == ";":
            policies.append(_policy(path, text, start, match.end()))
            start = match.end()
    if _first_token(text, start) < len(text):
        policies.append(_policy(path, text, start, len(text)))
    return policies


def _policy(path: Path, text: str, start: int, end: int) -> SourcedPolicy:
    first = _first_token(text, start)
    return SourcedPolicy(path, text.count("\n", 0, first) + 1, text[first:end].rstrip())


def _first_token(text: str, start: int) -> int:
    match = _LEADING_BLANK.match(text, start)
    return match.end() if match is not None else start
