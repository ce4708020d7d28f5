"""What holds for the words of every text."""

import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec_retrieval.words import Language, words_of_query, words_of_text, words_of_texts
from vecsec_retrieval.words.normalising import composed, folded
from vecsec_retrieval.words.splitting import LONGEST_WHOLE

_SIGNS = "aZß9ÄéİıǅﬁΣς-_./:@+#\\\"'„“«» \t\u200b\u0301\u0345\u00ad東都ー한กัहि🚀\ufe0f\u202e\ud800"
texts = st.one_of(st.text(max_size=200), st.text(_SIGNS, max_size=80))
languages = st.none() | st.sampled_from(Language)
LONGEST = 4 * LONGEST_WHOLE
"""Some letters become several when their case is folded, or compatible ones take their place."""


@given(texts, languages)
def test_every_text_has_words_of_bounded_length(text: str, language: Language | None) -> None:
    words = words_of_text(text, language)

    assert all(0 < len(word) <= LONGEST for word in words)
    assert len(words) <= 12 * len(composed(text))


@given(texts, languages)
def test_every_query_has_each_word_once_and_no_empty_one(text: str, language: Language | None) -> None:
    query = words_of_query(text, language)

    assert len(set(query.words)) == len(query.words)
    assert all(query.words) or not query.words
    assert all(phrase and set(phrase) <= set(query.words) for phrase in query.phrases)


@given(texts)
def test_normalising_again_changes_nothing(text: str) -> None:
    once = composed(text)

    assert composed(once) == once
    assert folded(folded(once)) == folded(once)


@pytest.mark.parametrize(
    "marks",
    ["\u0301\u0316", "\u0344\u0316", "\u0345\u0301", "\uff9e\u3099", "\u0301\u200b\u0316\u034f", "\U0001e944\u0316"],
)
def test_so_many_marks_on_a_letter_stay_that_they_are_soon_sorted(marks: str) -> None:
    normalised = composed(f"a{marks * 30_000}b")

    assert (normalised[-1], len(normalised)) == ("b", pytest.approx(31, abs=1))
    assert composed(normalised) == normalised
    assert words_of_text(f"one a{marks * 30_000} two")[0] == "one"
    words_of_query(f"one a{marks * 4_000} two")


@given(st.text(st.sampled_from("aé日กั🚀 \u0301\u0316\u0345\u0308\uff9e"), max_size=30))
def test_a_text_with_few_marks_is_normalised_as_ever(text: str) -> None:
    assert composed(text) == unicodedata.normalize("NFKC", text)


@given(st.lists(texts, max_size=8), languages)
def test_texts_beside_a_text_change_nothing(several: list[str], language: Language | None) -> None:
    assert list(words_of_texts(several, language)) == [words_of_text(each, language) for each in several]


@given(texts, languages)
def test_a_text_is_found_by_itself(text: str, language: Language | None) -> None:
    spoken = language or Language.ENGLISH
    running = set(words_of_text(text, spoken))

    assert {word for word in words_of_query(text, spoken).words if "*" not in word} <= running


@pytest.mark.parametrize(
    "piece", ["a", "-", "a-", "a_", "aA", "a1", '"', '"a" ', "日", "\u0301", ":/", "a://", "A-1", "🚀", "é ", "\u200b"]
)
def test_what_is_long_has_words_in_number_linear_to_its_length(piece: str) -> None:
    size = 20_000
    few, many = (words_of_text(piece * (times // len(piece))) for times in (size, 2 * size))

    assert len(many) <= 2 * len(few) + LONGEST
    assert sys.getsizeof(max(many, key=len, default="")) < 8 * LONGEST
    words_of_query(piece * (16_384 // len(piece)))


def test_threads_get_the_same_words() -> None:
    several = ["The pumps are restarting", "die Häuser der Städte", "les mémoires des villes", "книги и слова"] * 50
    expected = list(words_of_texts(several))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(words_of_text, several)) == expected
