"""Composition root of the retrieval service: the only file that names concrete classes."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.auth.keys import key_source
from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import ConfigurationError, InvalidGrant, VecSecError
from vecsec_chassis.flag.flag import real_retrieval_flag
from vecsec_chassis.process.common_parts import running_common_parts
from vecsec_chassis.rpc import wire
from vecsec_chassis.rpc.server import RunningService, running_server
from vecsec_chassis.telemetry.metrics import CacheUse, observe_caches
from vecsec_retrieval.cells.cell_sizes import CellSizes
from vecsec_retrieval.cells.heartbeat import StoreHeartbeat
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.handlers import SERVICE_NAME, RetrievalHandlers
from vecsec_retrieval.memory.budget import BYTES_FOR_CALLS, MemoryBudget, most_awake_cells, resident_bytes
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import WORDLLAMA, EmbeddingModel, EmbeddingModels, WordLlamaModel
from vecsec_retrieval.reporting.policy_link import PolicyLink
from vecsec_retrieval.reporting.telling import running_use_reports
from vecsec_retrieval.search.memory_reader import AnswerCache
from vecsec_retrieval.settings import RetrievalSettings
from vecsec_retrieval.shard.own_tenants import EverybodysShard
from vecsec_retrieval.shard.running_shard import RunningShard, running_shard
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.stores.chroma_models import PREFIX, ChromaModel
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder.open_files import demand_enough_files, warn_of_few_files
from vecsec_retrieval.stores.remote import RemoteCellStore
from vecsec_retrieval.use_cases import document_sizes
from vecsec_retrieval.use_cases.collection_search import CollectionSearch
from vecsec_retrieval.use_cases.deleting import DocumentDeletion
from vecsec_retrieval.use_cases.describe_shard import ShardDescriber
from vecsec_retrieval.use_cases.documents import DocumentAccess
from vecsec_retrieval.use_cases.exporting import DocumentExport
from vecsec_retrieval.use_cases.import_documents import BatchStore
from vecsec_retrieval.use_cases.listing import CollectionListing
from vecsec_retrieval.use_cases.relabelling import Relabelling
from vecsec_retrieval.use_cases.search_batch import SearchBatch
from vecsec_retrieval.use_cases.storage_quota import StorageQuota
from vecsec_retrieval.visibility import tagging
from vecsec_retrieval.visibility.grant_uses import GrantUses
from vecsec_retrieval.visibility.permissions import Permissions, ResidualDecisions

log = structlog.get_logger()


@asynccontextmanager
async def running_retrieval(settings: RetrievalSettings) -> AsyncIterator[RunningService]:
    """Run the retrieval service until the block ends. Acknowledged writes are durable before the block ends.

    A remote store that does not answer yet does not keep the service from starting: it is NOT_SERVING until it does.

    Raises:
        ConfigurationError: if settings, keys, the embedding model or the embedded store's path are not usable.
    """
    verifier = GrantVerifier(key_source(settings.grant_jwks, "VECSEC_GRANT_JWKS"))
    models = _models(settings)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(contextlib.closing(_store(settings)))
        telemetry, certificates = await stack.enter_async_context(running_common_parts("retrieval", settings))
        flag = await stack.enter_async_context(
            real_retrieval_flag(settings.use_real_vector_retrieval, settings.flag_file, telemetry.meter)
        )
        metrics = RetrievalMetrics(telemetry.meter)
        shard = None
        if settings.shard is not None and settings.placement_file is not None:
            assert isinstance(store, EmbeddedCellStore), "the settings see to it"
            shard = await stack.enter_async_context(
                running_shard(settings.shard, settings.placement_file, store.cells, telemetry.meter, certificates)
            )
            tenants = shard.tenants
            metrics.watch_shard(
                settings.shard,
                tenants=lambda: len(tenants.cells()),
                displaced=lambda: len(tenants.displaced()),
                missing=lambda: len(tenants.missing),
            )
        # Released after the server: what is written while it drains is waited for, and only then cells are closed.
        threads = stack.enter_context(
            contextlib.closing(StoreThreads(settings.store_threads, metrics.record_store_call))
        )
        budget = MemoryBudget(settings.memory_limit_bytes, reserved_bytes=resident_bytes() + BYTES_FOR_CALLS)
        answers = AnswerCache(settings.answer_memory_bytes)
        cells = await stack.enter_async_context(
            contextlib.aclosing(
                OpenCells(
                    store,
                    threads=threads,
                    budget=budget,
                    most_awake=most_awake_cells(),
                    metrics=metrics,
                    answers=answers,
                    tenants=EverybodysShard(_store_id_of(store)) if shard is None else shard.tenants,
                )
            )
        )
        is_embedded = settings.chroma_url is None
        metrics.watch_capacity(
            limit_bytes=budget.limit_bytes,
            available_bytes=budget.available_bytes,
            rows_in_memory=lambda: cells.rows_in_memory,
            calls_waiting=lambda: threads.waiting,
            store_threads=settings.store_threads,
            free_bytes=(lambda: shutil.disk_usage(settings.chroma_path).free) if is_embedded else None,
        )
        decisions = ResidualDecisions()
        observe_caches(telemetry.meter, _caches(verifier, decisions, models, answers))
        metrics.watch_clocks(
            lead_seconds=lambda: verifier.clock_lead_seconds,
            late_seconds=lambda: verifier.late_seconds,
            refused=verifier.refused_for_time,
        )
        uses = GrantUses()
        # Before the server, so released after it: what is done while it drains is told, too.
        await stack.enter_async_context(
            running_use_reports(uses, PolicyLink(settings.policy_address, certificates), metrics)
        )
        permissions = Permissions(verifier, flag, decisions, uses)
        quota = StorageQuota(metrics)
        searching = CollectionSearch(models, max_answer_bytes=settings.max_answer_bytes)
        handlers = RetrievalHandlers(
            permissions=permissions,
            batches=BatchStore(cells, models, quota),
            documents=DocumentAccess(
                permissions, cells, searching, metrics, max_answer_bytes=settings.max_answer_bytes
            ),
            batch_search=SearchBatch(
                permissions, cells, searching, metrics, max_answer_bytes=settings.max_answer_bytes
            ),
            deletion=DocumentDeletion(permissions, cells),
            relabelling=Relabelling(permissions, cells),
            listing=CollectionListing(permissions, cells, quota),
            export=DocumentExport(permissions, cells, metrics, max_answer_bytes=settings.max_answer_bytes),
            describer=_describer(store, shard, cells),
            max_batch_bytes=settings.max_message_bytes,
        )
        service = await stack.enter_async_context(
            running_server(
                service_name=SERVICE_NAME,
                add_servicer=partial(retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server, handlers),
                settings=settings,
                certificates=certificates,
                telemetry=telemetry,
                token_verifier=None,  # acts on grants, which say themselves who the caller is
                tenant_of_grant=partial(_tenant_of_grant, verifier),
                carries_calls=True,
            )
        )
        if shard is not None:
            await stack.enter_async_context(shard.others.being_asked())
        log.info("Using real vector store", kind=store.kind, location=store.location)
        heartbeat = StoreHeartbeat(store, lambda: cells.damaged, metrics)
        await heartbeat.beat(service.health)
        beating = heartbeat.run(service.health)
        await stack.enter_async_context(running_in_background(beating, "heartbeat of the vector store"))
        yield service


def _store_id_of(store: EmbeddedCellStore | RemoteCellStore) -> Callable[[], str]:
    """Empty for a server's: any number of services may share that. And while it is not on the disk: after a restart it
    would be another one, and the store taken for another store."""
    if not isinstance(store, EmbeddedCellStore):
        return lambda: ""
    cells = store.cells
    return lambda: cells.lasting_store_id


def _describer(
    store: EmbeddedCellStore | RemoteCellStore, shard: RunningShard | None, cells: OpenCells
) -> ShardDescriber:
    if not isinstance(store, EmbeddedCellStore):
        return ShardDescriber(None, _store_id_of(store), None)
    listed = store.cells

    async def count_rows(tenant_id: str) -> int:
        try:
            return await cells.count_rows(tenant_id, store.count_rows)
        except VecSecError:
            return 0  # of what cannot be read, or is not this shard's: others tell of that

    sizes = CellSizes(Path(store.location), lambda: listed.epochs().keys(), count_rows)
    return ShardDescriber(None if shard is None else shard.tenants, _store_id_of(store), sizes)


async def _tenant_of_grant(verifier: GrantVerifier, grant: str) -> str | None:
    try:
        return (await verifier.verify(grant)).tenant_id
    except InvalidGrant:
        return None


def _caches(
    verifier: GrantVerifier, decisions: ResidualDecisions, models: EmbeddingModels, answers: AnswerCache
) -> dict[str, Callable[[], CacheUse]]:
    return {
        **wire.CACHES,
        **document_sizes.CACHES,
        **tagging.CACHES,
        "grants_verified": lambda: verifier.lookups,
        "residuals": lambda: decisions.residual_lookups,
        "visible_labels": lambda: decisions.visible_lookups,
        "verdicts": lambda: decisions.verdict_lookups,
        "embeddings": lambda: models.lookups,
        "answers": lambda: answers.lookups,
    }


def _store(settings: RetrievalSettings) -> EmbeddedCellStore | RemoteCellStore:
    url = settings.chroma_url
    if url is None:
        demand_enough_files()
        warn_of_few_files()
        return EmbeddedCellStore(settings.chroma_path, may_be_new=settings.store_may_be_new, shard=settings.shard)
    return remote_store(settings, url)


def remote_store(settings: RetrievalSettings, url: str) -> RemoteCellStore:
    """The ChromaDB server at a URL.

    Raises:
        ConfigurationError: if that is none.
    """
    api_key = settings.chroma_api_key.get_secret_value() if settings.chroma_api_key else None
    return RemoteCellStore(url, api_key=api_key, chroma_tenant=settings.chroma_tenant)


def _models(settings: RetrievalSettings) -> EmbeddingModels:
    name = settings.embedding_model
    models: dict[str, EmbeddingModel] = {WORDLLAMA: WordLlamaModel()}
    if name.startswith(PREFIX):
        models[name] = ChromaModel(name, settings.embedding_model_config)
    elif name not in models:
        raise ConfigurationError(
            f"VECSEC_EMBEDDING_MODEL={name}: must be {WORDLLAMA}, or {PREFIX}<name> of ChromaDB's own"
        )
    return EmbeddingModels(models, name)
