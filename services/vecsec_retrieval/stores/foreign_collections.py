"""Reads a ChromaDB collection that another program made: for imports, in a process of its own."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from chromadb.api import ServerAPI
from chromadb.api.models.Collection import Collection
from chromadb.api.rust import RustBindingsAPI
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System
from chromadb.errors import ChromaError, NotFoundError

from vecsec_retrieval.stores.embedded.record import DATABASE_FILE
from vecsec_retrieval.stores.remote import TimedFastAPI, client_settings

_ROWS_A_PAGE = 500


class UnreadableCollection(Exception):
    """The collection cannot be read; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """One row as Chroma gives it back: what is not stored is None or empty, embeddings are 32-bit numbers."""

    row_id: str
    text: str | None
    metadata: Mapping[str, object]
    embedding: list[float] | None


def read_directory(path: Path, name: str) -> Iterator[ForeignRow]:
    """All rows of a collection in a directory of ChromaDB.

    A copy is read, in the folder for temporary files: ChromaDB changes a database when it merely opens it, and brings
    older ones up to its own version. The copy is of the whole directory, with what symbolic links in it lead to, and
    takes as much room. If another program writes to the directory meanwhile, the copy may be damaged or incomplete.

    Raises:
        UnreadableCollection: if there is no such collection, or it cannot be read.
    """
    if not (path / DATABASE_FILE).is_file():
        raise UnreadableCollection(f"{path} is not a ChromaDB directory: it holds no {DATABASE_FILE}")
    with _complaints(str(path)), tempfile.TemporaryDirectory(prefix="vecsec-dump-") as folder:
        copy = shutil.copytree(path, Path(folder) / "copy")
        system = System(Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(copy)))
        with _running(system, system.instance(RustBindingsAPI)) as api:
            yield from _rows(api, name)


def read_server(url: str, name: str, *, api_key: str | None) -> Iterator[ForeignRow]:
    """The rows of a collection in the default database of a Chroma server; those removed meanwhile are left out.

    Raises:
        UnreadableCollection: if there is no such collection, or it cannot be read.
    """
    try:
        location, settings = client_settings(url, api_key)
    except ValueError as error:
        raise UnreadableCollection(f"{url}: {error}") from error
    system = System(settings)
    with _complaints(location), _running(system, system.instance(TimedFastAPI)) as api:
        yield from _rows(api, name)


@contextmanager
def _running(system: System, api: ServerAPI) -> Iterator[ServerAPI]:
    system.start()
    try:
        yield api
    finally:
        system.stop()


@contextmanager
def _complaints(location: str) -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        raise UnreadableCollection(f"{location}: {error}") from error
    except (ChromaError, httpx.HTTPError, OSError) as error:
        raise UnreadableCollection(f"{location} cannot be read: {' '.join(str(error).split())}") from error


def _rows(api: ServerAPI, name: str) -> Iterator[ForeignRow]:
    model = api.get_collection(name, tenant=DEFAULT_TENANT, database=DEFAULT_DATABASE)
    collection = Collection(client=api, model=model, embedding_function=None, data_loader=None)
    ids = collection.get(include=[])["ids"]
    for start in range(0, len(ids), _ROWS_A_PAGE):
        page = collection.get(ids=ids[start : start + _ROWS_A_PAGE], include=["documents", "metadatas", "embeddings"])
        documents, metadatas, embeddings = page["documents"], page["metadatas"], page["embeddings"]
        for position, row_id in enumerate(page["ids"]):
            embedding = None if embeddings is None else embeddings[position]
            yield ForeignRow(
                row_id,
                None if documents is None else documents[position],
                (None if metadatas is None else metadatas[position]) or {},
                None if embedding is None else np.asarray(embedding, dtype=np.float32).tolist(),
            )
