"""Text of other people on its way to a terminal."""

import pytest

from vecsec_cli.terminal.text import harmless, one_line, plain


@pytest.mark.parametrize(
    "text",
    ["plain", "two\nlines\tand a tab", "naïve café", "日本語", "שלום", "👩\u200d🚀 and 🫨", "zero\u200bwidth", ""],
)
def test_ordinary_text_of_any_language_stays(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x08", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"]
)
def test_what_commands_a_terminal_or_reorders_a_line_is_replaced_visibly(character: str) -> None:
    assert harmless(f"a{character}b") == "a\ufffdb"


def test_one_line_is_the_first_that_says_something() -> None:
    assert one_line("\n  \n  first\tline \nsecond", 40) == "first line"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert one_line("", 10) == ""


def test_brackets_are_no_markup() -> None:
    assert plain("[bold]x[/bold]").plain == "[bold]x[/bold]"
