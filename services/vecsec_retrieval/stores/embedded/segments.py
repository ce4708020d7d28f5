"""Keeps ChromaDB from keeping anything of an embedded cell but its log.

ChromaDB derives two segments of each collection from the log as it is written. One is a vector index, whose files it
reads in native code, and rewrites in place without syncing them: a process that dies meanwhile leaves files that kill
the next one. The other is tables of texts and metadata, which take most of the time of a write and more room than the
log. No answer needs either. So both are said to hold the log to its end, and beyond, and ChromaDB adds nothing to them.
The index is one of two rows, written anew whenever ChromaDB is opened, so that what it reads is whole, whatever
happened to the files.
"""

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
from chromadb.api.models.Collection import Collection
from chromadb.api.rust import RustBindingsAPI
from chromadb.config import Settings, System

from vecsec_retrieval.stores.embedded.record import Record

_FEWEST_ROWS_SYNCED = 2


class EmptySegments:
    """The segments of one cell, while ChromaDB is open for it."""

    def __init__(self, record: Record, directory: Path) -> None:
        self._record = record
        self._directory = directory
        self._folders: set[Path] = set()

    def lay_out(self) -> None:
        """Give an index to each collection that has none of ours yet, and have ChromaDB believe that no segment lacks
        anything: before ChromaDB is opened, and as soon as it has made a collection.

        Raises:
            OSError: if the files cannot be written.
        """
        for segment_id, dimensions in self._record.vector_segments():
            folder = self._directory / segment_id
            if folder in self._folders:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            if folder.is_file():
                folder.unlink()
            folder.mkdir(mode=0o700)
            for name, content in _index_of_nothing(dimensions).items():
                (folder / name).write_bytes(content)
            self._folders.add(folder)
        self._record.say_segments_hold_everything()

    def remove(self) -> None:
        """Take them away: ChromaDB has been closed."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()


@lru_cache(maxsize=16)
def _index_of_nothing(dimensions: int) -> dict[str, bytes]:
    """ChromaDB's own files of an index of two rows, which are none of any collection."""
    with tempfile.TemporaryDirectory(prefix="vecsec-index-") as folder:
        system = System(Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=folder))
        api = system.instance(RustBindingsAPI)
        system.start()
        configuration = CreateCollectionConfiguration(
            hnsw=CreateHNSWConfiguration(space="cosine", sync_threshold=_FEWEST_ROWS_SYNCED, batch_size=2)
        )
        model = api.create_collection("nothing", configuration=configuration)
        rows = np.ones((_FEWEST_ROWS_SYNCED, dimensions), dtype=np.float32)
        Collection(client=api, model=model, embedding_function=None, data_loader=None).upsert(["a", "b"], rows)
        system.stop()
        return {file.name: file.read_bytes() for file in Path(folder).glob("*/*")}
