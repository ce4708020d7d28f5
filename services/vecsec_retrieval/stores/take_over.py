"""Brings a cell of VecSec 0.1 to the present format, in which its log holds everything.

Embeddings are moved from ChromaDB's index files into the log. ChromaDB reads those files in native code, which dies of
torn ones: so a process of its own does it, `python -m vecsec_retrieval.stores.take_over DIRECTORY`. It may be stopped
at any moment, and goes on with what is left the next time.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import structlog
from chromadb.api.models.Collection import Collection
from chromadb.api.rust import RustBindingsAPI
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System

from vecsec_retrieval.stores.error_translation import damaged
from vecsec_retrieval.stores.record import DATABASE_FILE, Record

log = structlog.get_logger()

_ROWS_AT_ONCE = 500


def take_over(record: Record, directory: Path, tenant_id: str) -> None:
    """Bring the cell to the present format; nobody else may use it meanwhile.

    Raises:
        StoreDamaged: if its embeddings cannot be read.
    """
    record.keep_log()
    rows = len(record.rows_without_embedding())
    if rows:
        log.info("taking over a cell of version 0.1", tenant_id=tenant_id, rows=rows)
        command = [sys.executable, "-P", "-m", "vecsec_retrieval.stores.take_over", str(directory)]
        with subprocess.Popen(  # noqa: S603 (this interpreter, and a folder of our own)
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as moving:
            assert moving.stdout is not None
            assert moving.stderr is not None
            for line in moving.stdout:
                log.info("taking over", tenant_id=tenant_id, rows_left=int(line))
            complaint = moving.stderr.read().strip().splitlines()[-1:]
        if moving.returncode != 0 or record.rows_without_embedding():
            raise damaged(tenant_id, f"taking it over ended with {moving.returncode}: {' '.join(complaint)}")
    record.mark(tenant_id)


def main(arguments: Sequence[str]) -> int:
    """Move the embeddings of one cell; print how many rows are left after each page."""
    directory = Path(arguments[0])
    record = Record(directory / DATABASE_FILE)
    waiting = record.rows_without_embedding()
    record.close()
    by_collection = defaultdict(list)
    for collection_id, document_id in waiting:
        by_collection[collection_id].append(document_id)
    system = System(Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(directory)))
    api = system.instance(RustBindingsAPI)
    system.start()
    left = len(waiting)
    for name, ids in by_collection.items():
        model = api.get_collection(name, tenant=DEFAULT_TENANT, database=DEFAULT_DATABASE)
        collection = Collection(client=api, model=model, embedding_function=None, data_loader=None)
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            page = collection.get(
                ids=ids[start : start + _ROWS_AT_ONCE], include=["documents", "metadatas", "embeddings"]
            )
            assert page["embeddings"] is not None
            collection.upsert(page["ids"], page["embeddings"], page["metadatas"], page["documents"])
            left -= len(page["ids"])
            sys.stdout.write(f"{left}\n")
            sys.stdout.flush()
    system.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
