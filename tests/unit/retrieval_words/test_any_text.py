"""What holds for the words of every text."""

import sys
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


@given(st.lists(texts, max_size=8), languages)
def test_texts_beside_a_text_change_nothing(several: list[str], language: Language | None) -> None:
    assert words_of_texts(several, language) == [words_of_text(each, language) for each in several]


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
    expected = words_of_texts(several)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(words_of_text, several)) == expected
