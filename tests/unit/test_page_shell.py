"""A block of a page that does not do what the page says is found."""

import os
import sys
from pathlib import Path

import pytest
from support.page_shell import PageShell
from support.pages import CodeBlock


@pytest.fixture
def shell(tmp_path: Path) -> PageShell:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return PageShell(tmp_path, dict(os.environ) | {"PATH": path}, {"localhost:50051": "localhost:1"})


def block(text: str, language: str = "bash", status: str = "") -> CodeBlock:
    page = Path(__file__).parents[2] / "README.md"
    return CodeBlock(page, 1, language, "", "exit status" if status else "", status, text)


@pytest.mark.parametrize(
    "bad",
    [
        block("false"),
        block("false\ntrue"),
        block("false | true"),
        block("echo $NEVER_SET"),
        block("exit 3", status="4"),
        block("true", status="4"),
        block("raise ValueError", "python"),
        block("done = True", "python"),
    ],
    ids=lambda each: each.text,
)
def test_a_block_that_fails_is_found(bad: CodeBlock, shell: PageShell) -> None:
    with pytest.raises(AssertionError):
        shell.types(bad)


def test_a_block_may_end_as_the_page_says(shell: PageShell) -> None:
    shell.types(block("exit 4", status="4"))


def test_what_a_block_exports_and_where_it_goes_counts_for_the_next(shell: PageShell) -> None:
    shell.types(block('mkdir inner && cd inner && export GREETING="it\'s here"'))
    shell.types(block('[ "$(basename "$PWD")" = inner ] && [ "$GREETING" = "it\'s here" ]'))
    shell.types(block("import os\nassert os.environ['GREETING']\nprint(os.getcwd())", "python"))


def test_addresses_are_those_of_the_installation(shell: PageShell) -> None:
    shell.types(block('[ "localhost:50051" = "localhost:"1 ]'))
