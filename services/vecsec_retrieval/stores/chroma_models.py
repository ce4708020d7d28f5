"""Embedding models from ChromaDB's own registry, such as `chroma:onnx_mini_lm_l6_v2`."""

from collections.abc import Mapping, Sequence

import httpx
import numpy as np
from chromadb.utils.embedding_functions import config_to_embedding_function

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.rows import Matrix, Vector

PREFIX = "chroma:"
_RETRY_SECONDS = 5.0


class ChromaModel:
    """One of Chroma's embedding functions; see `embeddings.EmbeddingModel`."""

    is_quick = False

    def __init__(self, name: str, config: Mapping[str, object]) -> None:
        """Make the function called `chroma:<name>` with its own configuration; some load their weights when first used.

        Raises:
            ConfigurationError: if Chroma has none of this name, or what the function needs is missing.
        """
        self._name = name
        try:
            self._function = config_to_embedding_function({"name": name.removeprefix(PREFIX), "config": dict(config)})
        except (ValueError, TypeError, KeyError, ImportError, AssertionError) as error:
            raise ConfigurationError(
                f"VECSEC_EMBEDDING_MODEL={name}: cannot be used (VECSEC_EMBEDDING_MODEL_CONFIG={dict(config)}): {error}"
            ) from error

    def embed(self, texts: Sequence[str]) -> Matrix:
        try:
            return np.asarray(self._function(list(texts)), dtype=np.float32)
        except (OSError, httpx.HTTPError, RuntimeError, ValueError) as error:
            raise RetrievalUnavailable(
                "the embedding model does not answer",
                detail=f"{self._name}: {type(error).__name__}: {error}",
                retry_after=_RETRY_SECONDS,
            ) from error

    def embed_query(self, text: str) -> Vector:
        return direction(self.embed([text])[0])

    def embed_queries(self, texts: Sequence[str]) -> Sequence[Vector]:
        return list(map(direction, self.embed(texts)))
