"""Embeddings of texts that a caller searched for before: looked up in some µs, embedded in 40 µs and more."""

from hashlib import sha256
from typing import NamedTuple

from cachetools import LRUCache

from vecsec_chassis.cache_metrics import Lookups
from vecsec_retrieval.askers import Asker
from vecsec_retrieval.embeddings import EmbeddingModels
from vecsec_retrieval.rows import Vector

_REMEMBERED_BYTES = 8 * 1024 * 1024
"""Some 5,000 embeddings of 256 dimensions."""
_BYTES_OF_A_KEY = 600


class _Key(NamedTuple):
    asker: Asker
    model: str
    text_hash: bytes
    """Not the text: what callers ask for is nothing to keep."""


class RememberedEmbeddings:
    """Embeds what callers look for, each text once for each of them while there is room."""

    def __init__(self, models: EmbeddingModels) -> None:
        self._models = models
        self._vectors: LRUCache[_Key, Vector] = LRUCache(_REMEMBERED_BYTES, getsizeof=_weight)
        self.lookups = Lookups()
        """How often an embedding was at hand."""

    async def embed_query(self, asker: Asker, model: str, text: str) -> Vector:
        """The embedding of a text by a collection's model; shared, and so not to be written to.

        Raises:
            InvalidRequest: as `EmbeddingModels.embed_query`, each time.
        """
        key = _Key(asker, model, sha256(text.encode()).digest())
        vector = self._vectors.get(key)
        self.lookups.count(found=vector is not None)
        if vector is None:
            vector = await self._models.embed_query(model, text)
            vector.setflags(write=False)
            self._vectors[key] = vector
        return vector


def _weight(vector: Vector) -> int:
    return _BYTES_OF_A_KEY + vector.nbytes
