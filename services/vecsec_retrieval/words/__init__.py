"""What words a text has: for the search by words, in documents and in queries alike.

A text's words depend on that text, and on the language that its collection may name, alone. What other documents there
are changes nothing, so hidden ones cannot.
"""

from vecsec_retrieval.words.languages import Language
from vecsec_retrieval.words.of_query import TextQuery, words_of_query
from vecsec_retrieval.words.of_text import words_of_text, words_of_texts
from vecsec_retrieval.words.phrase_finding import PhraseFinder
from vecsec_retrieval.words.version import WORDS_VERSION

__all__ = [
    "WORDS_VERSION",
    "Language",
    "PhraseFinder",
    "TextQuery",
    "words_of_query",
    "words_of_text",
    "words_of_texts",
]
