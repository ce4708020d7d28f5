"""Splitting: nothing is lost, nothing is doubled beyond the overlap, and what belongs together stays together."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_client import DocumentInput, Sensitivity, split_documents
from vecsec_client.splitting import markdown, plain_text
from vecsec_client.splitting.blocks import Kind
from vecsec_client.splitting.documents import in_context
from vecsec_client.splitting.packing import Lengths, Passage, passages

WORD = st.text("abcdefgäß.,!", min_size=1, max_size=12)
SENTENCE = st.lists(WORD, min_size=1, max_size=60).map(" ".join).filter(lambda text: text.strip(".,! "))
PROSE = SENTENCE.map(lambda text: f"w{text}.")
CODE = st.lists(st.sampled_from(["# no heading", "x = 1", "", "| a | b |", "- y", "    z"]), min_size=1, max_size=12)
FENCE = st.tuples(st.sampled_from(["```", "~~~~", "```py"]), CODE).map(
    lambda each: "\n".join([each[0], *each[1], each[0].rstrip("py")])
)
ROW = st.lists(st.sampled_from(["a", "bb", "some text"]), min_size=2, max_size=2).map(
    lambda row: f"| {' | '.join(row)} |"
)
TABLE = st.lists(ROW, min_size=1, max_size=12).map(lambda rows: "\n".join(["| h | i |", "| --- | --- |", *rows]))
LIST = st.lists(st.one_of(PROSE, FENCE.map(lambda text: text.replace("\n", "\n  "))), min_size=1, max_size=6).map(
    lambda items: "\n".join(f"- {item}" for item in items)
)
HEADING = st.tuples(st.integers(1, 4), WORD).map(lambda each: f"{'#' * each[0]} h{each[1]}")
BLOCKS = st.lists(st.one_of(PROSE, FENCE, TABLE, LIST, HEADING), min_size=1, max_size=30)
LENGTHS = st.tuples(st.integers(100, 600), st.integers(0, 50)).map(lambda each: Lengths(*each))


def squeezed(text: str) -> str:
    return "".join(text.split())


def in_markdown(text: str, lengths: Lengths) -> list[Passage]:
    return list(passages(markdown.blocks(text, lengths.longest_whole), lengths))


def own_text(found: list[Passage]) -> str:
    return squeezed("".join(each.body[each.repeated :] for each in found))


@settings(deadline=None, max_examples=150)
@given(BLOCKS, LENGTHS)
def test_no_text_is_lost_or_doubled_beyond_the_overlap(blocks: list[str], lengths: Lengths) -> None:
    text = "\n\n".join(blocks)
    found = in_markdown(text, lengths)
    if all(len(block) <= lengths.longest_whole for block in blocks):
        assert own_text(found) == squeezed(text)
    before = ""
    for each in found:
        assert each.repeated <= lengths.overlap
        assert squeezed(each.body[: each.repeated]) in before
        before = squeezed(each.body)


@settings(deadline=None, max_examples=150)
@given(BLOCKS, LENGTHS)
def test_code_tables_and_headings_stay_with_what_they_belong_to(blocks: list[str], lengths: Lengths) -> None:
    found = in_markdown("\n\n".join(blocks), lengths)
    bodies = [each.body for each in found]
    for block in blocks:
        is_list = block.startswith("- ")
        if len(block) <= lengths.longest_whole and not is_list and not block.startswith("w"):
            assert any(block in body for body in bodies), "a fence, a table or a heading was cut"
    for body in bodies:
        fences = re.findall(r"^[ \-]*(```|~~~~)", body, re.MULTILINE)
        assert len(fences) % 2 == 0, "half a fence"
        if len(found) > 1:
            assert not all(line.startswith("#") or not line for line in body.split("\n")), "a heading alone"


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=3000), LENGTHS)
def test_any_text_can_be_split(text: str, lengths: Lengths) -> None:
    plain = list(passages(plain_text.blocks(text), lengths))
    assert own_text(plain) == squeezed(text)
    assert all(0 < len(each.body) <= lengths.size for each in plain)
    assert all(in_context(each)[0].strip() for each in in_markdown(text, lengths))


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 9000, "A sentence. " * 900, "line\n" * 3000, "a\n\n" * 4000])
def test_passages_are_bounded_and_lose_nothing(text: str) -> None:
    lengths = Lengths()
    found = list(passages(plain_text.blocks(text), lengths))
    assert all(0 < len(each.body) <= lengths.size for each in found)
    assert own_text(found) == squeezed(text)


def test_a_cut_section_repeats_the_end_of_the_passage_before_and_names_its_headings() -> None:
    text = "# Guide\n\n## Ranking\n\n" + " ".join(f"Sentence number {number}." for number in range(300))
    found = in_markdown(text, Lengths())
    assert [each.headings for each in found[1:]] == [("Guide", "Ranking")] * (len(found) - 1)
    assert found[0].body.startswith("# Guide\n\n## Ranking\n\nSentence number 0.")
    assert all(0 < each.repeated <= 200 and each.body.startswith("Sentence number") for each in found[1:])
    assert in_context(found[1], "Handbook")[0].startswith("Handbook > Guide > Ranking\n\nSentence")


def test_comments_in_code_are_no_headings() -> None:
    code = "```sh\n" + "# a comment\nmake it\n" * 60 + "```"
    found = in_markdown(f"# Use\n\n{code}\n\n" + "Some more words. " * 120, Lengths())
    assert code in found[0].body
    assert all("Use" not in each.headings[1:] for each in found)


def test_what_is_far_too_long_is_cut_into_whole_things() -> None:
    fence = "```py\n" + "print(1)\n" * 5000 + "```"
    table = "| a | b |\n|---|---|\n" + "| c | d |\n" * 5000
    found = [each.body for each in in_markdown(f"{fence}\n\n{table}", Lengths())]
    assert len(found) > 8
    assert all(len(each) <= 8000 + 2000 for each in found)
    for each in found:
        assert each.startswith("```py\n") == each.endswith("\n```")
        assert each.startswith(("```py", "| a | b |\n|---|---|\n| c | d |"))
    assert sum(each.count("print(1)") for each in found) == 5000
    assert sum(each.count("| c | d |") for each in found) == 5000


def test_a_long_list_is_cut_between_items_and_definitions_of_links_are_kept() -> None:
    text = "".join(f"- item {number} " + "word " * 40 + "\n" for number in range(200)) + "\n[a]: https://example.org\n"
    found = in_markdown(text, Lengths())
    assert own_text(found) == squeezed(text)
    assert all(each.body[each.repeated :].lstrip().startswith(("- item", "[a]")) for each in found)


def test_a_parser_needs_little_room_for_what_would_take_much() -> None:
    assert sum(1 for block in markdown.blocks("a\n\n" * 100_000, 8000) if block.kind is Kind.TEXT) == 100_000


def test_documents_are_split_with_label_and_place() -> None:
    document = DocumentInput(
        document_id="a",
        text="# Top\n\n" + "A sentence. " * 400,
        sensitivity=Sensitivity.SECRET,
        topics=["rag"],
        metadata={"title": "Notes"},
    )
    short = DocumentInput(document_id="b", text="short")
    embedded = DocumentInput(document_id="c", text=document.text, embedding=(1.0,))
    found = list(split_documents([document, short, embedded], markup="markdown"))
    assert [each.document_id for each in found] == ["a#1", "a#2", "a#3", "b", "c"]
    assert (found[1].sensitivity, found[1].topics) == (Sensitivity.SECRET, ["rag"])
    assert found[1].metadata == {"title": "Notes", "part_of": "a", "passage": 2, "headings": "Top"}
    assert found[1].text.startswith("Notes > Top\n\nA sentence.")
    with pytest.raises(ValueError, match=r"metadata\.passage says where a passage stands"):
        list(split_documents([DocumentInput(document_id="a", text=document.text, metadata={"passage": 7})]))


@pytest.mark.parametrize(("size", "overlap"), [(99, 0), (100_001, 0), (1000, 501), (1000, -1)])
def test_lengths_that_make_no_sense_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="not"):
        Lengths(size, overlap)
