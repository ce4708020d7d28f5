"""Stores batches of documents that a grant may write, each batch whole or not at all."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import AccessDenied, FieldViolation, InvalidGrant, InvalidRequest
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import ExistingRow, OpenCollection
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.memory.postings.word_counts import counted_words
from vecsec_retrieval.model.embeddings import EmbeddingModels, has_direction
from vecsec_retrieval.model.rows import EXTERNAL_MODEL, CollectionInfo, Document, StoredRow
from vecsec_retrieval.model.sources import refuse_torn_sources
from vecsec_retrieval.use_cases.document_sizes import size_without_embedding
from vecsec_retrieval.use_cases.import_rules import (
    NewDocument,
    chosen_model,
    labelled,
    other_model,
    refuse_missing_embeddings,
    refuse_unfit_embeddings,
    unfit_for_hidden,
)
from vecsec_retrieval.use_cases.storage_quota import StorageQuota
from vecsec_retrieval.use_cases.whole_sources import Surplus, surplus_of
from vecsec_retrieval.visibility.grant_life import require_living
from vecsec_retrieval.visibility.permissions import Permissions, Visibility
from vecsec_retrieval.visibility.tagging import to_stored


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """Documents to store together."""

    grant: str
    """May be empty after the first batch of a session."""
    collection_id: str
    documents: Sequence[NewDocument]
    embedding_model: str = ""
    """The model of a collection that is to be made; empty means the service's default."""
    whole_sources: bool = False
    """Whether each source that a document names is there as a whole: what else is stored of it goes."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """What a session has stored."""

    batch_number: int
    """Which batch of the session this was, counted from 1."""
    stored_count: int
    total_stored_count: int


class GrantedImport:
    """The batches of one caller, one after the other."""

    def __init__(self, permissions: Permissions, batches: "BatchStore") -> None:
        self._permissions = permissions
        self._batches = batches
        self._token = ""
        self._first_grant: Grant | None = None
        self._batch_number = 0
        self._total = 0

    async def store(self, batch: ImportBatch) -> ImportProgress:
        """Store a batch; it is durable on return. The grant is verified again for each.

        Raises:
            InvalidGrant: if there is none, it has expired, or it is another caller's or tenant's than the first.
            InvalidRequest, AccessDenied: as `BatchStore.store` does.
        """
        self._token = batch.grant or self._token
        writable = await self._permissions.require(self._token, Action.WRITE)
        grant = writable.grant
        first = self._first_grant = self._first_grant or grant
        if (grant.subject, grant.caller_tenant_id, grant.tenant_id) != (
            first.subject,
            first.caller_tenant_id,
            first.tenant_id,
        ):
            raise InvalidGrant("the grant is not of the caller and tenant that this import began with")
        stored = await self._batches.store(batch, writable)
        writable.count_rows(stored)
        self._batch_number += 1
        self._total += stored
        return ImportProgress(self._batch_number, stored, self._total)


class BatchStore:
    """Stores single batches."""

    def __init__(self, cells: OpenCells, models: EmbeddingModels, quota: StorageQuota) -> None:
        self._cells = cells
        self._models = models
        self._quota = quota

    async def store(self, batch: ImportBatch, writable: Visibility) -> int:
        """How many documents were stored: all of the batch.

        Raises:
            InvalidRequest: naming the fields that do not fit each other or the collection.
            AccessDenied: naming the documents whose label, or whose predecessor's label, may not be written; of a
                source that is replaced as a whole, any that goes is the predecessor of all.
            InvalidGrant: if the grant expired before the batch's turn came.
            TenantLimit: if the tenant may not store so much, or so fast.
        """
        tenant_id = writable.grant.tenant_id
        if batch.embedding_model:
            self._models.refuse_unknown(batch.embedding_model)  # before anything that depends on the collection
        documents = labelled(batch.documents, tenant_id)
        if batch.whole_sources:
            passages = {number: each.passage for number, each in enumerate(batch.documents)}
            refuse_torn_sources({number: each for number, each in passages.items() if each is not None})
        await _require_writable({number: [document.label] for number, document in enumerate(documents)}, writable)
        await self._quota.pace(writable.grant, len(documents))
        async with self._quota.turn(tenant_id):
            require_living(writable.grant)  # before the batch is embedded for nothing
            await self._embed_and_write(batch, documents, writable)
        self._quota.note_stored(tenant_id, len(documents))
        return len(documents)

    async def _embed_and_write(self, batch: ImportBatch, documents: list[Document], writable: Visibility) -> None:
        tenant_id = writable.grant.tenant_id
        async with self._cells.lease(tenant_id) as cell:
            collection = None if cell is None else await cell.collection(batch.collection_id)
            info = None if collection is None else collection.info
            if collection is not None and batch.embedding_model not in {"", collection.info.embedding_model}:
                raise other_model(collection.info, is_visible=await collection.reader().has_visible(writable))
        model = chosen_model(info, batch.embedding_model, self._models.default_name, documents)
        try:
            documents = await self._embedded(documents, model, known_dimensions=info.dimensions if info else None)
        except InvalidRequest as unfit:
            if collection is None or await collection.reader().has_visible(writable):
                raise
            raise unfit_for_hidden(unfit) from unfit
        assert documents[0].embedding is not None
        info = info or CollectionInfo(batch.collection_id, model, len(documents[0].embedding))
        async with self._cells.lease(tenant_id, create=True) as cell:
            assert cell is not None
            async with cell.writer:
                require_living(writable.grant)
                await self._write(cell, info, documents, writable, whole_sources=batch.whole_sources)

    async def _write(
        self,
        cell: OpenCell,
        info: CollectionInfo,
        documents: Sequence[Document],
        writable: Visibility,
        *,
        whole_sources: bool,
    ) -> None:
        collection = await cell.collection(info.collection_id)
        existing = {} if collection is None else await collection.existing([each.document_id for each in documents])
        surplus = Surplus()
        if whole_sources and collection is not None:
            surplus = await surplus_of(collection, documents)
        replaced = [existing.get(document.document_id) for document in documents]
        before = {number: [row.label] for number, row in enumerate(replaced) if row is not None}
        await _require_writable(before, writable, surplus.labels)
        more_rows = len(documents) - len(existing) - len(surplus.document_ids)

        async def is_larger() -> bool:
            assert collection is not None, "rows are replaced"
            going = await collection.reader().get([*existing, *surplus.document_ids], writable)
            return sum(map(size_without_embedding, documents)) > sum(map(size_without_embedding, going))

        await self._quota.require_room(writable.grant, cell, more_rows, is_larger)
        collection = await _require_collection(cell, info)
        await _store(cell, collection, documents, replaced, surplus.document_ids)

    async def _embedded(
        self, documents: Sequence[Document], model: str, *, known_dimensions: int | None
    ) -> list[Document]:
        if model == EXTERNAL_MODEL:
            refuse_missing_embeddings(documents)
        bare = [number for number, document in enumerate(documents) if document.embedding is None]
        filled = list(documents)
        dimensions = known_dimensions
        if bare:
            self._models.refuse_unknown(model)  # that of a collection may have been loaded in the past alone
            matrix = await self._models.embed_texts(model, [documents[number].text for number in bare])
            dimensions = matrix.shape[1]
            for number, vector in zip(bare, matrix, strict=True):
                if not has_direction(vector):
                    raise InvalidRequest.of(
                        f"documents[{number}].text", "holds nothing that the collection's model knows"
                    )
                filled[number] = replace(documents[number], embedding=vector)
        if dimensions is None:
            first = documents[0].embedding
            assert first is not None
            dimensions = len(first)
        refuse_unfit_embeddings(filled, dimensions)
        return filled


async def _require_collection(cell: OpenCell, info: CollectionInfo) -> OpenCollection:
    collection = await cell.collection(info.collection_id)
    if collection is None:
        collection = await cell.create_collection(info)
        collection.begin_empty()
    if collection.info != info:
        raise InvalidRequest.of(
            "embedding_model",
            f"collection {info.collection_id!r} was made meanwhile, with another model or other dimensions; try again",
        )
    collection.start_loading()
    return collection


async def _store(
    cell: OpenCell,
    collection: OpenCollection,
    documents: Sequence[Document],
    replaced: Sequence[ExistingRow | None],
    surplus: Sequence[str],
) -> None:
    rows = await asyncio.to_thread(_rows, documents, replaced)
    words = await asyncio.to_thread(counted_words, documents) if collection.has_words else None
    entries = collection.catalogue.missing_entries(documents)
    await collection.make_room(len(documents))

    def store() -> int:
        collection.catalogue.store(entries)
        position = cell.cell.upsert(collection.info.collection_id, rows, surplus)
        if words is not None:
            collection.add_words(words)
        return position

    def remember(position: int) -> None:
        collection.catalogue.add(entries)
        collection.apply(IndexChange(position, upserted=documents, deleted=surplus, words=words))
        # Here, for it is true also of a call that is cancelled meanwhile.
        cell.rows_changed(replaced.count(None) - len(surplus))

    await cell.write("upsert", store, remember)


async def _require_writable(
    labels_of_number: Mapping[int, Collection[Label | None]], writable: Visibility, unnamed: Collection[Label] = ()
) -> None:
    # None stands for a row whose tags are not whole; it is never among the permitted ones.
    permitted = await writable.of(
        label for labels in (*labels_of_number.values(), unnamed) for label in labels if label is not None
    )
    violations = [
        FieldViolation(f"documents[{number}]", "may not be written by this caller")
        for number, labels in labels_of_number.items()
        if not permitted.issuperset(labels)
    ]
    if not violations and not permitted.issuperset(unnamed):
        violations = [FieldViolation("documents", "one of their sources may not be written by this caller")]
    if violations:
        raise AccessDenied("the policy does not let this caller write these documents", violations=violations)


def _rows(documents: Sequence[Document], replaced: Sequence[ExistingRow | None]) -> list[StoredRow]:
    return [
        to_stored(document, () if row is None else row.metadata_keys - document.metadata.keys())
        for document, row in zip(documents, replaced, strict=True)
    ]
