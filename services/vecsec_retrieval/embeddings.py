"""The models that turn texts into vectors, by the names that are recorded with collections."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import wordllama

from vecsec_chassis.errors import InvalidRequest
from vecsec_retrieval.rows import EXTERNAL_MODEL, Matrix, Vector

WORDLLAMA = "wordllama"


class EmbeddingModel(Protocol):
    """Embeds texts."""

    @property
    def is_quick(self) -> bool:
        """Whether one query is embedded faster than a thread could be asked to."""
        ...

    def embed(self, texts: Sequence[str]) -> Matrix:
        """The embeddings, of shape (texts, dimensions); blocks."""
        ...


class WordLlamaModel:
    """The default: 256 dimensions, weights in the package, about 40 µs a query."""

    is_quick = True

    def __init__(self) -> None:
        self._model = _wordllama()

    def embed(self, texts: Sequence[str]) -> Matrix:
        embedded: Matrix = np.asarray(self._model.embed(list(texts), norm=True), dtype=np.float32)
        return embedded


@functools.cache
def _wordllama() -> wordllama.WordLlamaInference:
    # The package looks for its own tokenizer in the wrong folder unless told.
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


class EmbeddingModels:
    """The models that this service has loaded."""

    def __init__(self, models: Mapping[str, EmbeddingModel], default_name: str) -> None:
        self._models = models
        self.default_name = default_name
        """The model of collections that are made without naming one."""

    def refuse_unknown(self, name: str) -> None:
        """Check a caller's choice for a new collection.

        Raises:
            InvalidRequest: naming the models that there are.
        """
        if name != EXTERNAL_MODEL and name not in self._models:
            known = ", ".join(sorted([*self._models, EXTERNAL_MODEL]))
            raise InvalidRequest.of("embedding_model", f"is not one of this service's models: {known}")

    async def embed_query(self, name: str, text: str) -> Vector:
        """Embed what a caller looks for with its collection's model.

        Raises:
            InvalidRequest: naming `query.text`, if the collection takes vectors only or its model is not loaded.
        """
        if name == EXTERNAL_MODEL:
            raise InvalidRequest.of("query.text", "this collection's embeddings are external: send a vector")
        model = self._models.get(name)
        if model is None:
            raise InvalidRequest.of(
                "query.text",
                f"this collection's model {name!r} is not loaded: send a vector, or set VECSEC_EMBEDDING_MODEL",
            )
        matrix = model.embed([text]) if model.is_quick else await asyncio.to_thread(model.embed, [text])
        vector: Vector = matrix[0]
        return vector

    async def embed_texts(self, name: str, texts: Sequence[str]) -> Matrix:
        """Embed passages with a model that `refuse_unknown` lets pass; (texts, dimensions)."""
        return await asyncio.to_thread(self._models[name].embed, texts)
