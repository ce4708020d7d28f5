"""Brings a cell of VecSec 0.1 to the present format, in which its log holds everything.

Embeddings are moved from ChromaDB's index files into the log. ChromaDB reads those files in native code, which dies of
torn ones, and rewrites them in place while it is written to, which tears them if it is stopped. So it is done to a
copy, in a process of its own (`python -m vecsec_retrieval.stores.embedded.take_over DIRECTORY`), and then the copy's
database takes the place of the cell's in one step. Until then the cell is as it was.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import structlog
from chromadb.api.models.Collection import Collection
from chromadb.api.rust import RustBindingsAPI
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System

from vecsec_chassis.process.writable_folders import sync_folder
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, Record
from vecsec_retrieval.stores.error_translation import damaged

log = structlog.get_logger()

_ROWS_AT_ONCE = 500


def take_over(directory: Path, tenant_id: str, rows: int) -> None:
    """Bring the cell, of which so many rows are to be moved, to the present format; nobody uses it meanwhile.

    Raises:
        StoreDamaged: if its embeddings cannot be read.
        OSError: if there is no room for the copy.
    """
    log.info("taking over a cell of version 0.1", tenant_id=tenant_id, rows=rows)
    prefix = f".taking-over-{tenant_id}."
    for left in directory.parent.glob(f"{prefix}*"):  # by one that was stopped
        shutil.rmtree(left, ignore_errors=True)
    # Never the same name again: what was stopped may have left a process that still writes to its own.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent, ignore_cleanup_errors=True) as folder:
        copy = shutil.copytree(directory, Path(folder) / "cell")
        _move(copy, tenant_id)
        record = Record(copy / DATABASE_FILE)
        record.mark(tenant_id)
        record.close()
        (copy / DATABASE_FILE).replace(directory / DATABASE_FILE)
        sync_folder(directory)


def _move(directory: Path, tenant_id: str) -> None:
    """Move the embeddings of this cell into its log, in a process of its own."""
    command = [sys.executable, "-P", "-m", "vecsec_retrieval.stores.embedded.take_over", str(directory)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 (this interpreter, and a folder of our own)
            command, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as moving,
    ):
        assert moving.stdout is not None
        for line in moving.stdout:
            log.info("taking over", tenant_id=tenant_id, rows_left=int(line))
        status = moving.wait()
        complaints.seek(0)
        complaint = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    record = Record(directory / DATABASE_FILE)
    is_moved = not record.rows_without_embedding()
    record.close()
    if status != 0 or not is_moved:
        raise damaged(tenant_id, f"taking it over ended with {status}: {' '.join(complaint)}")


def main(arguments: Sequence[str]) -> int:
    """Move the embeddings of one cell; print how many rows are left after each page."""
    directory = Path(arguments[0])
    record = Record(directory / DATABASE_FILE)
    record.keep_log()
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
