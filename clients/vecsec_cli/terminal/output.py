"""What a command prints: results on stdout, for people or as one JSON document for programs; all else on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vecsec_cli.terminal.json_shapes import encoded
from vecsec_cli.terminal.text import harmless, plain


@dataclass(slots=True)
class OutputMode:
    """Whether this run of the command prints JSON; set by the option `--json`, read where failures are reported."""

    json: bool = False


def print_json(document: Mapping[str, object], *, to_stderr: bool = False) -> None:
    """Print one JSON document; everything beyond printable ASCII is escaped, so that nothing commands a terminal."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(as_json(document, indent=None if to_stderr else 2) + "\n")


def print_json_line(document: Mapping[str, object]) -> None:
    """Print one of several JSON documents, in a line of its own."""
    sys.stdout.write(as_json(document) + "\n")


def as_json(document: object, *, indent: int | None = None) -> str:
    """A JSON document, in one line or with this indent."""
    return json.dumps(document, indent=indent, ensure_ascii=True, allow_nan=False, default=encoded)


def console(*, to_stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no highlighting, no emoji names."""
    return Console(stderr=to_stderr, markup=False, highlight=False, emoji=False)


def print_table(
    *headings: str | Column, rows: Iterable[Sequence[Text | str]], framed: bool = True, expand: bool = False
) -> None:
    """Print a table; its texts are taken as they are. An empty row draws a line."""
    box = HEAVY_HEAD if framed else None
    table = Table(*headings, header_style="bold", box=box, pad_edge=framed, expand=expand)
    for row in rows:
        if row:
            table.add_row(*(plain(cell) if isinstance(cell, str) else cell for cell in row))
        else:
            table.add_section()
    console().print(table)


def right(heading: str) -> Column:
    """A column of numbers."""
    return Column(heading, justify="right")


def folded(heading: str) -> Column:
    """A column whose texts are shown whole, whatever the width."""
    return Column(heading, overflow="fold")


def say(text: Text | str = "") -> None:
    """Print a line of the result; long lines stay whole, so that they can be searched and copied."""
    console().print(plain(text) if isinstance(text, str) else text, soft_wrap=True)


def note(message: str) -> None:
    """Tell the person at the terminal something that is not part of the result."""
    console(to_stderr=True).print(plain(message), soft_wrap=True)


def report_failure(message: str, hint: str) -> None:
    """One line on stderr, and one with what to do."""
    error_console = console(to_stderr=True)
    error_console.print(plain("error: ", "bold red") + plain(" ".join(harmless(message).split())), soft_wrap=True)
    if hint:
        error_console.print(plain("hint:  ", "bold") + plain(hint), soft_wrap=True)
