"""Which language a text is in, and that each has a stemmer."""

import pytest

from vecsec_retrieval.words import Language, words_of_text
from vecsec_retrieval.words.languages import language_of
from vecsec_retrieval.words.stemming import stem

SPOKEN = {
    Language.DANISH: "hvordan bliver det, hvis jeg ikke kan komme",
    Language.DUTCH: "hoe wordt het certificaat niet vernieuwd met een sleutel",
    Language.ENGLISH: "how is the certificate renewed",
    Language.FINNISH: "miten avain on vaihdettu ja mikä se oli",
    Language.FRENCH: "comment le certificat est renouvelé dans les services",
    Language.GERMAN: "wie wird das Zertifikat erneuert",
    Language.ITALIAN: "come si rinnova il certificato della chiave perché non è valido",
    Language.NORWEGIAN: "hvordan blir det hvis jeg ikke kan komme av seg selv",
    Language.PORTUGUESE: "como os certificados são renovados quando não há um do servidor",
    Language.SPANISH: "cómo se renueva el certificado de los servidores cuando no vale",
    Language.SWEDISH: "hur förnyas certifikatet när det inte är giltigt och vad ska jag göra",
}
"""A sentence in each language."""


@pytest.mark.parametrize("language", Language)
def test_small_words_tell_the_language(language: Language) -> None:
    assert language_of(SPOKEN[language].split()) is language


def test_letters_tell_it_where_there_are_no_small_words() -> None:
    assert language_of(["Schlüssel"]) is Language.GERMAN
    assert language_of(["señal"]) is Language.SPANISH
    assert language_of(["certificate", "renewal"]) is None


def test_the_order_of_a_text_and_its_repetitions_say_nothing() -> None:
    words = SPOKEN[Language.GERMAN].split()

    assert language_of(words * 3) is language_of(reversed(words)) is Language.GERMAN


@pytest.mark.parametrize("language", Language)
def test_each_language_has_a_stemmer(language: Language) -> None:
    assert stem("nationalisations", language)
    assert words_of_text(SPOKEN[language], language)[: len(SPOKEN[language].split())]
