"""Makes a cell as VecSec 0.1 left it: `python -m faults.first_format PATH SEED DONE`.

ChromaDB kept the embeddings in files of its vector index, and dropped from its log what those were said to hold.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from chromadb.api.models.Collection import Collection
from chromadb.api.rust import RustBindingsAPI
from chromadb.config import Settings, System
from faults.examiner import DAMAGED
from faults.plan import DIMENSIONS, Plan

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.stores.chroma_collections import DIMENSIONS_KEY, MODEL_KEY


def main(arguments: list[str]) -> int:
    directory, seed, done = Path(arguments[0]) / DAMAGED, int(arguments[1]), int(arguments[2])
    directory.mkdir(parents=True)
    system = System(Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(directory)))
    api = system.instance(RustBindingsAPI)
    system.start()
    plan, collections = Plan(DAMAGED, seed), dict[str, Collection]()
    while plan.done < done:
        operation = plan.next()
        if operation.kind == "create":
            collections[operation.collection_id] = _made(api, operation.collection_id)
        elif operation.kind == "delete":
            collections[operation.collection_id].delete(ids=list(operation.rows))
        else:
            _upsert(collections[operation.collection_id], [row for row in operation.rows.values() if row is not None])
        plan.take(operation)
    system.stop()
    return 0


def _made(api: RustBindingsAPI, collection_id: str) -> Collection:
    info = {MODEL_KEY: "external", DIMENSIONS_KEY: DIMENSIONS}
    configuration: Any = {"hnsw": {"space": "cosine", "ef_search": 800}}
    model = api.create_collection(collection_id, configuration=configuration, metadata=info, get_or_create=True)
    return Collection(client=api, model=model, embedding_function=None, data_loader=None)


def _upsert(collection: Collection, rows: list[StoredRow]) -> None:
    collection.upsert(
        ids=[row.document_id for row in rows],
        embeddings=np.stack([row.embedding for row in rows if row.embedding is not None]),
        documents=[row.text for row in rows],
        metadatas=[dict(row.metadata) for row in rows],  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
