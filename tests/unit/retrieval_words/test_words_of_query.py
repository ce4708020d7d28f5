"""The words and phrases of queries, by example."""

import pytest

from vecsec_retrieval.words import Language, PhraseFinder, words_of_query, words_of_text


def test_a_word_is_looked_for_once() -> None:
    assert words_of_query("the pump and the pump").words == ("the", "pump", "and")


def test_stems_are_those_of_the_languages_that_a_query_may_be_in() -> None:
    unknown, german = words_of_query("Zertifikate").words, words_of_query("die Zertifikate").words

    assert {"zertifik", "zertifikat"} <= set(unknown)
    assert "zertifikat" in german
    assert "zertifik" not in german
    assert words_of_query("Zertifikate", Language.ENGLISH).words == ("zertifikate", "zertifik")


def test_phrases_are_running_words_without_endings_cut_off() -> None:
    query = words_of_query('where is "Restarting the servers" and „neue Häuser“ « à la carte »')

    assert query.phrases == (("restarting", "the", "servers"), ("neue", "hauser"), ("a", "la", "carte"))
    assert "restarting" in query.words


def test_a_phrase_finds_identifiers_however_they_are_joined() -> None:
    assert words_of_query('"AB-1234/7" "useState"').phrases == (("ab", "1234", "7"), ("use", "state"))


def test_letters_that_run_in_pairs_count_by_themselves_only_where_there_is_one() -> None:
    assert words_of_query("東京都").words == ("東京", "京都")
    assert words_of_query("都").words == ("都",)
    assert words_of_query('"東京都"').phrases == (("東京", "京都"),)


def test_a_quote_that_is_never_closed_is_none() -> None:
    assert words_of_query('"closed" and "never').phrases == (("closed",),)
    assert words_of_query('size 19" rack').phrases == ()


@pytest.mark.parametrize("text", ["", " ", "?!", '"', '""', '"' * 10_000, "\u200b\u200d", "\u0301", "---", "___"])
def test_a_query_of_signs_has_no_words(text: str) -> None:
    query = words_of_query(text)

    assert (query.words, query.phrases) == ((), ())


def test_stop_words_are_words() -> None:
    assert words_of_query("the of and").words == ("the", "of", "and")


def test_one_character_is_a_word() -> None:
    assert words_of_query("a").words == ("a",)
    assert words_of_query("🚀").words == ("🚀",)


def test_no_more_than_sixteen_phrases_are_looked_for_as_such() -> None:
    query = words_of_query(" ".join(f'"word{letter}"' for letter in "abcdefghijklmnopqrstuvwxyz"))

    assert len(query.phrases) == 16
    assert "wordz" in query.words


def test_phrases_are_looked_for_among_running_words_alone() -> None:
    text = "pumps are running at AB-1234"

    assert PhraseFinder([("pumps", "are", "running", "at", "ab", "1234")]).are_in(text)
    assert not PhraseFinder([("1234", "pump")]).are_in(text)
    assert words_of_text(text)[6:8] == ["pump", "run"]  # which are no phrase of it
