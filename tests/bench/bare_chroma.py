"""The other side: one shared embedded ChromaDB collection, tenants told apart by a metadata filter, no security."""

from pathlib import Path

import chromadb
import numpy as np
from chromadb.api.types import Where
from chromadb.config import Settings
from numpy.typing import NDArray

from bench.corpus import Tenant

BATCH = 2000


class BareChroma:
    """ChromaDB as an application without VecSec would use it."""

    def __init__(self, folder: Path) -> None:
        self._client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        self._collection = self._client.get_or_create_collection(
            "shared", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def add(self, tenant: Tenant) -> None:
        """Store a tenant's passages beside everybody else's."""
        for start in range(0, len(tenant.texts), BATCH):
            rows = range(start, min(start + BATCH, len(tenant.texts)))
            self._collection.add(
                ids=[f"{tenant.tenant_id}/{tenant.document_id(row)}" for row in rows],
                documents=[tenant.texts[row] for row in rows],
                embeddings=tenant.embeddings[rows.start : rows.stop],
                metadatas=[{"tenant_id": tenant.tenant_id, "level": tenant.level(row)} for row in rows],
            )

    def search(self, tenant_id: str, query: NDArray[np.float32], k: int, level: int | None = None) -> int:
        """The tenant's nearest passages, up to a level if one is given, with content; returns how many came."""
        where: Where = {"tenant_id": tenant_id}
        if level is not None:
            where = {"$and": [where, {"level": {"$lte": level}}]}
        answer = self._collection.query(
            query_embeddings=[query],
            n_results=k,
            where=where,
            include=["documents", "metadatas", "distances"],
        )
        return len(answer["ids"][0])
