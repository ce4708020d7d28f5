"""The models that turn texts into vectors, by the names that are recorded with collections, and the vectors of texts
that a caller searched for before: looked up in some µs, embedded in 40 µs and more.

Of vectors, cosine similarity looks at nothing but the direction.
"""

import asyncio
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import wordllama
from cachetools import LRUCache

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.model.rows import EXTERNAL_MODEL, Matrix, Vector

WORDLLAMA = "wordllama"

_CHARACTERS_A_PIECE = 2_000
_CHARACTERS_A_BATCH = 64_000
_REMEMBERED_BYTES = 8 * 1024 * 1024
"""Some 5,000 embeddings of 256 dimensions."""
_BYTES_OF_A_KEY = 600
_TINY = float(np.finfo(np.float32).tiny)
_SHORTEST, _LONGEST = 1e-15, 1e15
"""Of vectors that are stored: beyond these, sums of squares leave the range of 32-bit numbers, here and in Chroma."""


class EmbeddingModel(Protocol):
    """Embeds texts."""

    @property
    def is_quick(self) -> bool:
        """Whether one query is embedded faster than a thread could be asked to."""
        ...

    def embed(self, texts: Sequence[str]) -> Matrix:
        """The embeddings, of shape (texts, dimensions); blocks."""
        ...

    def embed_query(self, text: str) -> Vector:
        """The embedding of what a caller looks for, scaled to length 1, or zeros if it says nothing; blocks."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Sequence[Vector]:
        """The same for several, in one call of the model; blocks."""
        ...


class WordLlamaModel:
    """The default: 256 dimensions, weights in the package, about 40 µs a query.

    A text's embedding is the mean of its tokens' vectors. The package itself pads every text of a batch to the longest
    one (a text of 26 kB made it take 1.6 GiB); here each text is summed up in pieces of its own, to the same result.
    """

    is_quick = True

    def __init__(self) -> None:
        model = _wordllama()
        self._tokenizer = model.tokenizer
        self._token_vectors = model.embedding

    def embed(self, texts: Sequence[str]) -> Matrix:
        sums = np.zeros((len(texts), self._token_vectors.shape[1]), dtype=np.float32)
        for batch in _batches(texts):
            encodings = self._tokenizer.encode_batch_fast([piece for _, piece in batch], add_special_tokens=False)
            for (number, _), encoding in zip(batch, encodings, strict=True):
                sums[number] += self._sum(encoding.ids)
        for each in sums:
            each[:] = direction(each)  # that of the sum is that of the mean
        return sums

    def embed_query(self, text: str) -> Vector:
        if not 0 < len(text) <= _CHARACTERS_A_PIECE:
            vector: Vector = self.embed([text])[0]
            return vector
        # The same without batches and pieces, in two thirds of the time.
        return direction(self._sum(self._tokenizer.encode(text, add_special_tokens=False).ids))

    def embed_queries(self, texts: Sequence[str]) -> Sequence[Vector]:
        if not all(0 < len(text) <= _CHARACTERS_A_PIECE for text in texts):
            return [self.embed_query(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [direction(self._sum(encoding.ids)) for encoding in encodings]

    def _sum(self, token_ids: Sequence[int]) -> Vector:
        # The tokenizer knows a few tokens more than there are vectors; the package clips them, too.
        total: Vector = np.add.reduce(self._token_vectors.take(token_ids, axis=0, mode="clip"), axis=0)
        return total


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Pieces with the number of their text, some at a time, so that memory does not grow with the texts."""
    batch: list[tuple[int, str]] = []
    characters = 0
    for number, text in enumerate(texts):
        for piece in _pieces(text):
            if batch and characters + len(piece) > _CHARACTERS_A_BATCH:
                yield batch
                batch, characters = [], 0
            batch.append((number, piece))
            characters += len(piece)
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    """The text cut into bounded pieces: at spaces, where words end, or anywhere if there is none.

    The space is left out, as the tokenizer puts one before whatever it is given.
    """
    start = 0
    while len(text) - start > _CHARACTERS_A_PIECE:
        limit = start + _CHARACTERS_A_PIECE
        space = text.rfind(" ", start + 1, limit)
        cut = space if space != -1 else limit
        yield text[start:cut]
        start = cut + (space != -1)
    if start < len(text):
        yield text[start:]


@functools.cache
def _wordllama() -> wordllama.WordLlamaInference:
    # The package looks for its own tokenizer in the wrong folder unless told.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    model.tokenizer.no_padding()
    return model


class EmbeddingModels:
    """The models that this service has loaded; what callers look for is embedded once for each of them, while there is
    room."""

    def __init__(self, models: Mapping[str, EmbeddingModel], default_name: str) -> None:
        self._models = models
        self.default_name = default_name
        """The model of collections that are made without naming one."""
        self._vectors: LRUCache[tuple[CacheScope, str, bytes], Vector] = LRUCache(_REMEMBERED_BYTES, getsizeof=_weight)
        self.lookups = CacheCounter()
        """How often the embedding of a query was at hand."""

    def refuse_unknown(self, name: str) -> None:
        """Check a caller's choice for a new collection.

        Raises:
            InvalidRequest: naming the models that there are.
        """
        if name != EXTERNAL_MODEL and name not in self._models:
            known = ", ".join(sorted([*self._models, EXTERNAL_MODEL]))
            raise InvalidRequest.of("embedding_model", f"is not one of this service's models: {known}")

    async def embed_query(self, cache_scope: CacheScope, name: str, text: str) -> Vector:
        """Embed what a caller looks for with its collection's model: of length 1, or zeros if the text says nothing.
        The vector is shared, and so not to be written to.

        Raises:
            InvalidRequest: naming `query.text`, if the collection takes vectors only or its model is not loaded.
        """
        key = (cache_scope, name, sha256(text.encode()).digest())  # what callers ask for is nothing to keep as a text
        vector = self._vectors.get(key)
        self.lookups.count(found=vector is not None)
        if vector is None:
            model = self._model_of_query(name)
            vector = model.embed_query(text) if model.is_quick else await asyncio.to_thread(model.embed_query, text)
            vector.setflags(write=False)
            self._vectors[key] = vector
        return vector

    async def embed_queries(self, cache_scope: CacheScope, name: str, texts: Sequence[str]) -> None:
        """Have the embeddings of several queries at hand for `embed_query`, by one call of the model; nothing where the
        collection takes vectors only or its model is not loaded."""
        model = self._models.get(name)
        keys = {(cache_scope, name, sha256(text.encode()).digest()): text for text in texts}
        missing = {key: text for key, text in keys.items() if key not in self._vectors}
        if model is None or len(missing) < 2:
            return
        embed = functools.partial(model.embed_queries, list(missing.values()))
        for key, vector in zip(missing, embed() if model.is_quick else await asyncio.to_thread(embed), strict=True):
            vector.setflags(write=False)
            self._vectors[key] = vector

    async def embed_texts(self, name: str, texts: Sequence[str]) -> Matrix:
        """Embed passages with a model that `refuse_unknown` lets pass; (texts, dimensions)."""
        return await asyncio.to_thread(self._models[name].embed, texts)

    def _model_of_query(self, name: str) -> EmbeddingModel:
        if name == EXTERNAL_MODEL:
            raise InvalidRequest.of("query.text", "this collection's embeddings are external: send a vector")
        model = self._models.get(name)
        if model is None:
            raise InvalidRequest.of(
                "query.text",
                f"this collection's model {name!r} is not loaded: send a vector, or set VECSEC_EMBEDDING_MODEL",
            )
        return model


def _weight(vector: Vector) -> int:
    return _BYTES_OF_A_KEY + vector.nbytes


def normalised(matrix: Matrix) -> Matrix:
    """Each row of a (rows, dimensions) matrix scaled to length 1; rows that have no direction (see `has_direction`) may
    become zeros."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = matrix / lengths
    return np.where(np.isfinite(scaled), scaled, 0).astype(np.float32, copy=False)


def direction(vector: Vector) -> Vector:
    """One vector scaled to length 1, zeros if it has no direction; NumPy's ways for matrices take ten times as long."""
    exact = vector.astype(np.float64)
    length = math.sqrt(exact.dot(exact))
    return (exact / length).astype(np.float32) if _TINY < length < math.inf else np.zeros_like(vector)


def has_direction(vector: Vector) -> bool:
    """Whether the vector is finite and has a length that 32-bit numbers can reckon with, from 1e-15 to 1e15."""
    exact = vector.astype(np.float64)
    return _SHORTEST <= math.sqrt(exact.dot(exact)) <= _LONGEST
