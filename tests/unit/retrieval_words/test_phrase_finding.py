"""A phrase is found where its words stand side by side, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec_retrieval.words import PhraseFinder, words_of_query
from vecsec_retrieval.words.normalising import composed
from vecsec_retrieval.words.pieces import pieces_of, running_words

_SIGNS = 'abAB12_-./:@+#\\" \t\x1céß東\u0301\u200b🚀'


def running(text: str) -> list[str]:
    return [word for piece in pieces_of(composed(text)) for word in running_words(piece)]


def is_in(phrase: str, text: str) -> bool:
    return PhraseFinder(words_of_query(f'"{phrase}"').phrases).are_in(text)


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("run dog", "we saw the running dogs", False),
        ("dogs run", "running dogs run the dog", True),
        ("use state", "const x = useState()", True),
        ("use state", "house states", False),
        ("ab 1234 7", "Release AB-1234/7.", True),
        ("a b", "a, (b)", True),
        ("a b", "a c b", False),
        ("états unis", "aux ETATS-Unis", True),
        ("東京都", "私は東京都に", True),
        (f"{'x' * 70} end", f"{'x' * 90} end", True),
    ],
)
def test_words_stand_side_by_side_as_they_are(phrase: str, text: str, expected: bool) -> None:
    assert is_in(phrase, text) is expected


@given(st.text(_SIGNS, max_size=40), st.integers(0, 20), st.integers(1, 4))
def test_every_run_of_a_text_s_words_is_found_in_it(text: str, start: int, length: int) -> None:
    phrase = tuple(running(text)[start : start + length])

    assert not phrase or PhraseFinder([phrase]).are_in(text)


@given(st.text(st.sampled_from("ab1 -_A"), max_size=12), st.lists(st.sampled_from(["a", "b", "1", "ab"]), min_size=1))
def test_what_is_found_fast_is_what_is_found(text: str, words: list[str]) -> None:
    there = running(text)
    starts = range(len(there))

    assert PhraseFinder([tuple(words)]).are_in(text) == any(there[at : at + len(words)] == words for at in starts)
    assert PhraseFinder([tuple(words)]).are_in(f"é {text}") == PhraseFinder([tuple(words)]).are_in(text)


def test_all_phrases_have_to_be_there() -> None:
    finder = PhraseFinder([("a", "b"), ("c",)])

    assert (finder.are_in("a b c"), finder.are_in("a b"), finder.are_in("é c")) == (True, False, False)
    assert finder.words == {"a", "b", "c"}
