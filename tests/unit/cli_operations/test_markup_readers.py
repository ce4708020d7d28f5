"""HTML and reStructuredText: every word once, structure kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_cli.importing.readers import html_page, restructured_text
from vecsec_client.splitting.blocks import Kind

PAGE = """<!DOCTYPE html><html><head><title>The
 Handbook</title><style>p { color: red }</style><script>alert("no")</script></head><body>
<h1>Ranking</h1><p>First &amp; <b>bold</b> words<br>of it.<p>Second
<ul><li>one<li>two <ul><li>two and a half</ul></ul>
<pre>
def f():
    return "<b>"
</pre>
<h2>Weights</h2>
<table><tr><th>name<th>value<tr><td>a|b<td>0.5</table>
<div>last</div></body></html>"""


def test_a_page_becomes_blocks() -> None:
    reading = html_page.read(PAGE, 8000)
    assert reading.title == "The Handbook"
    assert [(each.kind, each.text) for each in reading.blocks] == [
        (Kind.HEADING, "# Ranking"),
        (Kind.TEXT, "First & bold words of it."),
        (Kind.TEXT, "Second"),
        (Kind.WHOLE, "- one\n- two\n  - two and a half"),
        (Kind.WHOLE, '```\ndef f():\n    return ""\n```'),
        (Kind.HEADING, "## Weights"),
        (Kind.WHOLE, "| name | value |\n| --- | --- |\n| a\\|b | 0.5 |"),
        (Kind.TEXT, "last"),
    ]


TAGS = [
    *("<p>", "</p>", "<ul>", "</ul>", "<li>", "<table>", "</table>", "<tr>", "<td>", "</td>"),
    *("<pre>", "</pre>", "<h2>", "</h2>", "<div>", "<br>", "<b>", "<"),
]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(TAGS) | st.integers(0, 9999).map(lambda number: f"w{number}w"),
        max_size=40,
    )
)
def test_whatever_is_closed_or_not_every_word_comes_once(parts: list[str]) -> None:
    words = [part for part in parts if part.startswith("w")]
    text = " ".join(block.text for block in html_page.read(" ".join(parts), 8000).blocks)
    assert [text.count(word) for word in words] == [words.count(word) for word in words]


RST = """Handbook
========

An introduction.

Ranking
-------

How::

    code, with

    a blank line

- one
- two

===== =====
a     b
===== =====
1     2

3     4
===== =====

=====
Other
=====

End.
"""


def test_restructured_text_becomes_blocks_and_stays_as_it_is_written() -> None:
    blocks = list(restructured_text.read(RST, 8000).blocks)
    headings = [(each.title, each.level) for each in blocks if each.kind is Kind.HEADING]
    assert headings == [("Handbook", 1), ("Ranking", 2), ("Other", 3)]
    whole = [each.text for each in blocks if each.kind is Kind.WHOLE]
    assert whole[0] == "How::\n\n    code, with\n\n    a blank line"
    assert whole[-1].endswith("3     4\n===== =====")
    assert "".join("".join(each.text for each in blocks).split()) == "".join(RST.split())


@pytest.mark.parametrize("text", ["", "=\n=\n=", "a\n=", "==\n\n==\na\n==", "===== =====\na\n\nb"])
@pytest.mark.parametrize("times", [1, 3])
def test_odd_restructured_text_loses_nothing(text: str, times: int) -> None:
    found = "".join(each.text for each in restructured_text.read((text + "\n") * times, 8000).blocks)
    assert "".join(found.split()) == "".join(text.split()) * times
