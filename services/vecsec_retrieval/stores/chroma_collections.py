"""A tenant's cell on top of ChromaDB's server API, which the embedded and the remote client share."""

import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
from chromadb.api import ServerAPI
from chromadb.api.models.Collection import Collection
from chromadb.api.types import GetResult, Include, Metadata, QueryResult, Where
from chromadb.errors import InternalError, NotFoundError
from chromadb.types import Collection as CollectionModel

from vecsec_chassis.domain.errors import RetrievalUnavailable, StoreDamaged
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.rows import CollectionInfo, Matrix, MetadataValue, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.store import RowCondition, RowPage, RowsWanted, moment_not_held
from vecsec_retrieval.stores.chroma_where import wheres
from vecsec_retrieval.stores.whole_metadata import of_one_version
from vecsec_retrieval.visibility.tagging import from_stored, label_tags

MODEL_KEY = "vs_embedding_model"
DIMENSIONS_KEY = "vs_dimensions"

_SEARCH_EFFORT = 800
"""How many rows the index looks at (HNSW's `ef_search`). Measured with 100,000 rows of 256 dimensions: of the ten
nearest it finds 74 % at Chroma's own 100, in 3.5 ms; 92 % at 400, in 4.4 ms; 95 % at 600, in 6.1 ms; 98 % at 1,200, in
9.9 ms. Collections made before this was set keep Chroma's own."""

ErrorTranslation = Callable[[], AbstractContextManager[None]]
"""Turns the store's own exceptions into typed errors."""

Answer = TypeVar("Answer")

_ID_IS_GONE = "Error finding id"
"""What Chroma says when a row was deleted between its looking up ids and vectors."""
_TRIES_BESIDE_DELETES = 5
_PAUSE_SECONDS = 0.01
_ROWS_A_WRITE = 1_000
_ROW_PARTS: Include = ["documents", "metadatas", "embeddings"]


class ChromaCell:
    """One tenant's Chroma database: see `vecsec_retrieval.model.store.Cell`."""

    def __init__(
        self,
        api: ServerAPI,
        *,
        tenant_id: str,
        chroma_tenant: str,
        database: str,
        translated: ErrorTranslation,
        on_close: Callable[[], None],
    ) -> None:
        """Take over `api`; `on_close` lets go of what is behind it."""
        self._api = api
        self._tenant_id = tenant_id
        self._chroma_tenant = chroma_tenant
        self._database = database
        self._translated = translated
        self._on_close = on_close
        self._handles: dict[str, Collection] = {}
        self._handles_lock = threading.Lock()

    @property
    def tenant_id(self) -> str:
        return self._tenant_id

    def collections(self) -> list[CollectionInfo]:
        with self._translated():
            models = self._api.list_collections(tenant=self._chroma_tenant, database=self._database)
        infos = (_info(model) for model in models)
        return [info for info in infos if info is not None]

    def find_collection(self, collection_id: str) -> CollectionInfo | None:
        with self._translated():
            try:
                model = self._api.get_collection(collection_id, tenant=self._chroma_tenant, database=self._database)
            except NotFoundError:
                return None
        self._keep(model)
        return _info(model)

    def create_collection(self, info: CollectionInfo) -> CollectionInfo:
        with self._translated():
            model = self._api.create_collection(
                info.collection_id,
                configuration={"hnsw": {"space": "cosine", "ef_search": _SEARCH_EFFORT}},
                metadata={MODEL_KEY: info.embedding_model, DIMENSIONS_KEY: info.dimensions},
                get_or_create=True,
                tenant=self._chroma_tenant,
                database=self._database,
            )
        self._keep(model)
        made = _info(model)
        if made is None:
            raise StoreDamaged(
                f"collection {info.collection_id!r} was made by another program and cannot be used",
                detail=f"collection metadata {model.metadata!r} lacks {MODEL_KEY}",
            )
        return made

    @property
    def log(self) -> None:
        """Others may write to a server, too; and of a directory, `EmbeddedCell` has it."""
        return None

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        embeddings: Matrix = np.stack([_embedding(row) for row in rows])
        # None removes a key in an upsert; the type stubs do not know.
        metadatas = cast("list[Metadata]", [dict(row.metadata) for row in rows])
        self._use(
            collection_id,
            lambda collection: collection.upsert(
                ids=[row.document_id for row in rows],
                embeddings=embeddings,
                documents=[row.text for row in rows],
                metadatas=metadatas,
            ),
        )
        # Only now: who reads in between finds too much for a moment, never nothing.
        return self.delete(collection_id, deleted)

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> int:
        for start in range(0, len(document_ids), _ROWS_A_WRITE):
            page = list(document_ids[start : start + _ROWS_A_WRITE])
            self._use(collection_id, lambda collection, page=page: collection.delete(ids=page))  # type: ignore[misc]
        return 0

    def relabel(self, collection_id: str, relabelled: Sequence[tuple[str, Label]]) -> int:
        for start in range(0, len(relabelled), _ROWS_A_WRITE):
            labels = dict(relabelled[start : start + _ROWS_A_WRITE])
            # Written as whole rows, not as labels alone: what another writer stores meanwhile may be replaced, as by
            # any other write, but never bears the label of what stood there before.
            rows = self.get(collection_id, list(labels), with_embeddings=True)
            tagged = [(row, from_stored(row, self._tenant_id)) for row in rows]
            whole = [row for row, document in tagged if document is not None]
            if whole:
                self.upsert(collection_id, [_relabelled(row, labels[row.document_id]) for row in whole])
        return 0

    def drop_collections(self, collection_ids: Sequence[str]) -> None:
        """Another writer may have stored something meanwhile: an empty collection stays."""

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        if not document_ids:
            return []
        include = _ROW_PARTS if with_embeddings else _ROW_PARTS[:-1]
        found = self._use(collection_id, lambda collection: _get(collection, list(document_ids), include))
        rows = {row.document_id: row for row in found}
        return [rows[document_id] for document_id in document_ids if document_id in rows]

    def hold_moment(self) -> str:
        return ""

    def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        if moment:
            raise moment_not_held()
        found = self.find_ids(collection_id, RowCondition(wanted.label_keys))
        ids = heapq.nsmallest(wanted.count, (each for each in found if each > wanted.after_id))
        rows = self.get(collection_id, ids, with_embeddings=True)
        return RowPage(rows, ids[-1] if len(ids) == wanted.count else "")

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        found: list[str] = []
        for where in wheres(condition):
            wanted = None if limit is None else limit - len(found)
            if wanted == 0:
                break
            found += self._find_ids(collection_id, where, wanted)
        return found

    def _find_ids(self, collection_id: str, where: Where | None, limit: int | None) -> list[str]:
        return self._use(collection_id, lambda collection: collection.get(where=where, limit=limit, include=[]))["ids"]

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        best: list[Neighbour] = []
        for where in wheres(condition):
            best += self._nearest(collection_id, vector, count, where, condition.document_ids)
            best = heapq.nsmallest(count, best, key=lambda neighbour: neighbour.distance)
        return best

    def _nearest(
        self, collection_id: str, vector: Vector, count: int, where: Where | None, ids: Sequence[str] | None
    ) -> list[Neighbour]:
        def query(collection: Collection) -> QueryResult | None:
            for _ in range(1 if ids is not None else _TRIES_BESIDE_DELETES):
                try:
                    return collection.query(
                        query_embeddings=vector[np.newaxis],
                        ids=None if ids is None else list(ids),
                        n_results=count,
                        where=where,
                        include=["documents", "metadatas", "distances"],
                    )
                except InternalError as error:
                    if _ID_IS_GONE not in str(error):
                        raise
                time.sleep(_PAUSE_SECONDS)
            return None

        result = self._use(collection_id, query)
        if result is None:
            return []
        documents, metadatas, distances = result["documents"], result["metadatas"], result["distances"]
        assert documents is not None
        assert metadatas is not None
        assert distances is not None
        rows = _rows(result["ids"][0], documents[0], metadatas[0], None)
        return [Neighbour(row, float(distance)) for row, distance in zip(rows, distances[0], strict=True)]

    def row_count(self) -> int:
        callers = [info.collection_id for info in self.collections() if is_collection_id(info.collection_id)]
        return sum(self._use(each, lambda collection: collection.count()) for each in callers)

    def disk_bytes(self) -> None:
        """The server has the disk."""

    def give_room_back(self) -> None:
        """The server does so itself."""

    def close(self) -> None:
        self._handles.clear()
        with self._translated():
            self._on_close()

    def _use(self, collection_id: str, operation: Callable[[Collection], Answer]) -> Answer:
        """Run an operation on the collection, looking it up anew once if its handle has gone stale."""
        with self._translated():
            try:
                return operation(self._handle(collection_id))
            except NotFoundError:
                with self._handles_lock:
                    self._handles.pop(collection_id, None)
            try:
                return operation(self._handle(collection_id))
            except NotFoundError as error:
                raise RetrievalUnavailable(
                    "the collection changed while it was being used; try again", detail=str(error), retry_after=1.0
                ) from error

    def _handle(self, collection_id: str) -> Collection:
        with self._handles_lock:
            handle = self._handles.get(collection_id)
        if handle is not None:
            return handle
        return self._keep(self._api.get_collection(collection_id, tenant=self._chroma_tenant, database=self._database))

    def _keep(self, model: CollectionModel) -> Collection:
        handle = Collection(client=self._api, model=model, embedding_function=None, data_loader=None)
        with self._handles_lock:
            self._handles[model.name] = handle
        return handle


def _info(model: CollectionModel) -> CollectionInfo | None:
    metadata = model.metadata or {}
    embedding_model, dimensions = metadata.get(MODEL_KEY), metadata.get(DIMENSIONS_KEY)
    if not isinstance(embedding_model, str) or not isinstance(dimensions, int):
        return None
    return CollectionInfo(model.name, embedding_model, dimensions)


def _relabelled(row: StoredRow, label: Label) -> StoredRow:
    return replace(row, metadata={**row.metadata, **label_tags(label)})


def _embedding(row: StoredRow) -> Vector:
    if row.embedding is None:
        raise ValueError(f"row {row.document_id!r} has no embedding")
    return row.embedding


def _get(collection: Collection, ids: list[str], include: Include, tries_before: int = 0) -> list[StoredRow]:
    """The rows that are there: in halves, where a row is deleted while they are read. One row whose vector is still not
    there when it was looked for several times is damaged."""
    if not ids:
        return []
    try:
        return _rows_of(collection.get(ids=ids, include=include))
    except InternalError as error:
        if _ID_IS_GONE not in str(error) or tries_before == _TRIES_BESIDE_DELETES:
            raise
    if len(ids) == 1:
        time.sleep(_PAUSE_SECONDS)
        return _get(collection, ids, include, tries_before + 1)
    middle = len(ids) // 2
    return _get(collection, ids[:middle], include) + _get(collection, ids[middle:], include)


def _rows_of(result: GetResult) -> list[StoredRow]:
    return _rows(result["ids"], result["documents"], result["metadatas"], result["embeddings"])


def _rows(
    ids: Sequence[str],
    documents: Sequence[str | None] | None,
    metadatas: Sequence[Mapping[str, object] | None] | None,
    embeddings: object,
) -> list[StoredRow]:
    assert documents is not None
    assert metadatas is not None
    matrix = None if embeddings is None else np.asarray(embeddings, dtype=np.float32)
    return [
        StoredRow(
            document_id,
            documents[position] or "",
            of_one_version(cast("Mapping[str, MetadataValue | None]", metadatas[position] or {})),
            None if matrix is None else matrix[position],
        )
        for position, document_id in enumerate(ids)
    ]
