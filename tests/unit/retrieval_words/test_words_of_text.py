"""The words of documents, by example."""

import pytest

from vecsec_retrieval.words import Language, words_of_text

IDENTIFIERS = {
    "AB-1234/7": "ab 1234 7 | ab-1234 ab1234 ab-1234/7 ab12347",
    "useState": "use state | usestate",
    "HTTPServer": "http server | httpserver",
    "--no-verify": "no verify | --no-verify noverify verifi",
    "-v": "v | -v",
    "E0382": "e 0382 | e0382",
    "snake_case_key": "snake case key | snake_case_key snakecasekey",
    "1.2.3": "1 2 3 | 1.2.3",
    "v2.0-rc1": "v 2 0 rc 1 | v2 rc1 v2.0-rc1",
    "/usr/lib/os.py": "usr lib os py | os.py usr/lib/os.py",
    "e-mail": "e mail | e-mail email",
    "C++": "c | c++",
    "foo@bar.org": "foo bar org | bar.org foo@bar.org",
    "3f2a9c77de": "3f2a9c77de |",
}


@pytest.mark.parametrize("text", IDENTIFIERS)
def test_identifiers_are_words_in_parts_and_as_a_whole(text: str) -> None:
    assert words_of_text(text) == IDENTIFIERS[text].replace("|", "").split()


def test_running_words_come_first_in_their_order() -> None:
    words = words_of_text("Restarting servers with --force restarts them")

    assert words[:6] == ["restarting", "servers", "with", "force", "restarts", "them"]
    assert sorted(words[6:]) == ["--force", "forc", "restart", "restart", "server"]


def test_case_width_ligatures_and_invisible_characters_change_nothing() -> None:
    assert words_of_text("\uff26\uff49le o\ufb03ce l\u200bo\u00adgin") == words_of_text("file office login")


@pytest.mark.parametrize(("typed", "written"), [("cafe", "Café"), ("strasse", "Straße"), ("αθηνα", "Αθήνα")])
def test_words_are_found_without_their_accents(typed: str, written: str) -> None:
    assert typed in words_of_text(written)


def test_marks_that_make_other_letters_stay() -> None:
    assert words_of_text("हिन्दी")[0] == "हिन्दी"
    assert words_of_text("パリ") == ["パリ", "パ", "リ"]


def test_what_is_written_without_spaces_runs_in_pairs() -> None:
    assert words_of_text("東京都 2024年")[:4] == ["東京", "京都", "2024", "年"]
    assert words_of_text("東京都")[2:] == ["東", "京", "都"]
    assert words_of_text("日") == ["日"]


def test_emoji_are_words() -> None:
    assert words_of_text("ship it 🚀✈\ufe0f") == ["ship", "it", "🚀", "✈"]


def test_a_text_tells_its_language() -> None:
    assert "haus" in words_of_text("Die Dächer der Häuser")
    assert "memoir" in words_of_text("les mémoires de la ville")
    assert "pump" in words_of_text("pumps")  # nothing speaks, so English


def test_a_collection_may_name_its_language() -> None:
    assert "zertifikat" in words_of_text("Zertifikate", Language.GERMAN)
    assert "zertifikat" not in words_of_text("Zertifikate", Language.ENGLISH)


def test_other_letters_have_stemmers_of_their_own() -> None:
    assert "книг" in words_of_text("the word книги")


def test_compounds_are_found_by_what_they_begin_and_end_with() -> None:
    words = words_of_text("die Zertifikatserneuerung", Language.GERMAN)

    assert words == ["die", "zertifikatserneuerung", "zertifikatserneuer", "zerti*", "*erung", "*neuer"]


def test_languages_without_compounds_have_neither_beginnings_nor_ends() -> None:
    assert not any("*" in word for word in words_of_text("the certification of *stars* a*b", Language.ENGLISH))
