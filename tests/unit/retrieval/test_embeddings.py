"""The default model gives what its package gives, in bounded memory."""

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wordllama

from vecsec_retrieval.model.embeddings import WordLlamaModel

WORDS = ["retrieval", "of", "passages", "über", "naïve", "日本語", "x=1;", "\n\n", "don't", "1.5e-3"]


def passage(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.mark.parametrize("words", [1, 7, 120, 3_000])
def test_it_is_the_packages_own_answer(words: int) -> None:
    texts = [passage(words, seed) for seed in range(8)]
    package = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    expected = np.stack([package.embed(text, norm=True)[0] for text in texts])
    assert np.allclose(WordLlamaModel().embed(texts), expected, atol=1e-5)


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    model = WordLlamaModel()
    texts = ["short", passage(5_000, 1), "", "x" * 100_000, "last"]
    assert np.array_equal(model.embed(texts), np.concatenate([model.embed([text]) for text in texts]))


@pytest.mark.parametrize("text", ["plans", " ", "", "\u200b", passage(7, 1), "x" * 2_000, passage(5_000, 1)])
def test_a_query_is_embedded_like_a_passage(text: str) -> None:
    model = WordLlamaModel()
    assert np.array_equal(model.embed_query(text), model.embed([text])[0])


def test_a_text_without_spaces_is_embedded_nearly_as_whole() -> None:
    package = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    text = passage(5_000, 1).replace(" ", "")
    assert WordLlamaModel().embed([text])[0] @ package.embed(text, norm=True)[0] > 0.999


def test_empty_texts_have_no_direction() -> None:
    assert not WordLlamaModel().embed([""]).any()
    assert WordLlamaModel().embed([]).shape == (0, 256)


@pytest.mark.parametrize("text", ["a b c d " * 131_072, "x" * 1_048_576])
def test_memory_does_not_grow_with_the_longest_text(text: str) -> None:
    model = WordLlamaModel()
    tracemalloc.start()
    try:
        model.embed([text, *["short"] * 999])
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


def test_queries_of_a_batch_are_embedded_as_each_alone() -> None:
    model = WordLlamaModel()
    texts = ["what is rag?", "a", "Straße", "x" * 3_000, "", "one two three " * 20, "🙂"]
    for some in (texts, texts[:3]):
        for text, vector in zip(some, model.embed_queries(some), strict=True):
            assert np.array_equal(vector, model.embed_query(text))
