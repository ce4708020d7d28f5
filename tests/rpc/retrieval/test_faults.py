"""The flag, damaged cells, a store that is gone or busy, shutdown and small budgets."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from support.refusals import refusal
from support.retrieval_alone import Signer, document, running
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import query_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_retrieval.handlers import SERVICE_NAME
from vecsec_retrieval.stores.chroma_collections import ChromaCell
from vecsec_retrieval.stores.embedded.store import DATABASE_FILE, EmbeddedCellStore

HELD_UP_SECONDS = 60
STORE_CALLS = "vecsec_store_calls_waiting"
IMPORTS = 'vecsec_requests_in_flight{method="ImportDocuments"}'


async def test_with_the_flag_off_no_real_row_leaves(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, use_real_vector_retrieval=False) as service:
        await service.load(document("one"), document("two"))
        labels = pb.ListLabelsRequest(grant=service.signer.grant(Action.CONFIGURE))
        for call in (service.search(), service.get("one"), service.collections(), service.stub.ListLabels(labels)):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF")
        assert await service.delete("one") == 1
        assert service.metric("vecsec_feature_flag") == 0


async def test_the_flag_is_obeyed_live_and_per_tenant(tmp_path: Path, signer: Signer) -> None:
    flags = tmp_path / "flags.json"
    flags.write_text('{"flags": {}}')
    async with running(tmp_path, signer, flag_file=flags) as service:
        await service.load(document("one"))
        await service.load(document("one"), tenant_id="tenant_b")
        assert await service.ids() == ["one"]
        rule = {"if": [{"==": [{"var": "tenant_id"}, "tenant_a"]}, "off", "on"]}
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on", "targeting": rule}
        flags.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

        async def is_off() -> bool:
            try:
                await service.search()
            except grpc.aio.AioRpcError:
                return True
            return False

        await until(is_off)
        assert await service.ids(service.signer.grant(tenant_id="tenant_b")) == ["one"]


async def test_a_damaged_cell_is_an_error_of_its_tenant_alone(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.heartbeat.INTERVAL_SECONDS", 0.05)
    async with running(tmp_path, signer) as first:
        for tenant_id in ("tenant_a", "tenant_b"):
            await first.load(document("one"), tenant_id=tenant_id)
    database = tmp_path / "chroma" / "tenant_a" / DATABASE_FILE
    shutil.copy(database, tmp_path / "backup")
    database.write_bytes(b"garbage" * 10_000)
    async with running(tmp_path, signer) as service:
        assert await service.is_serving("vecsec.retrieval.cells")
        for call in (service.search(), service.get("one"), service.load(document("two")), service.delete("one")):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED")
            assert str(tmp_path) not in refused.message
        assert await service.ids(service.signer.grant(tenant_id="tenant_b")) == ["one"]
        assert database.read_bytes() == b"garbage" * 10_000

        async def shows() -> bool:
            return not await service.is_serving("vecsec.retrieval.cells")

        await until(shows)
        assert await service.is_serving()
        assert await service.is_serving(SERVICE_NAME)
        shutil.copy(tmp_path / "backup", database)
        assert await service.ids() == ["one"]
        await until(lambda: service.is_serving("vecsec.retrieval.cells"))


async def test_a_store_that_is_gone_shows_in_health_metric_and_log(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.heartbeat.INTERVAL_SECONDS", 0.05)
    async with running(tmp_path, signer) as service:
        assert await service.is_serving()
        assert service.metric("vecsec_vector_store_up") == 1
        (tmp_path / "chroma").rename(tmp_path / "elsewhere")

        async def is_down() -> bool:
            return not await service.is_serving()

        await until(is_down)
        assert service.metric("vecsec_vector_store_up") == 0
        (tmp_path / "elsewhere").rename(tmp_path / "chroma")
        await until(service.is_serving)
    written = capsys.readouterr().out
    for line in ("Using real vector store", "Vector store connection lost", "Vector store connection restored"):
        assert line in written


async def test_a_remote_store_that_is_not_there_yet_keeps_nobody_from_starting(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, chroma_url="http://127.0.0.1:1") as service:
        assert not await service.is_serving()
        refused = await refusal(service.search())
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
        assert refused.retry_seconds


async def test_unusable_settings_end_the_start_in_one_line(tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "file").write_text("")
    for settings, name in [
        ({"chroma_path": tmp_path / "file" / "x"}, "CHROMA_PATH"),
        ({"chroma_url": "nonsense"}, "CHROMA_CONNECTION_STRING"),
        ({"embedding_model": "nonsense"}, "VECSEC_EMBEDDING_MODEL"),
        ({"embedding_model": "chroma:nonsense"}, "VECSEC_EMBEDDING_MODEL"),
        ({"grant_jwks": str(tmp_path / "missing.json")}, "missing.json"),
    ]:
        with pytest.raises(ConfigurationError, match=name) as raised:
            async with running(tmp_path, signer, **settings):
                pass
        assert "\n" not in str(raised.value)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Opening a cell takes until this is set."""
    go = threading.Event()
    real = EmbeddedCellStore.open

    def slow(store: EmbeddedCellStore, tenant_id: str, *, create: bool) -> object:
        assert go.wait(HELD_UP_SECONDS)
        return real(store, tenant_id, create=create)

    monkeypatch.setattr(EmbeddedCellStore, "open", slow)
    yield go
    go.set()


async def test_a_deadline_is_honoured_while_the_store_is_busy(
    tmp_path: Path, signer: Signer, held_up: threading.Event
) -> None:
    async with running(tmp_path, signer) as service:
        request = pb.SearchDocumentsRequest(grant=signer.grant(), query=query_pb2.Query(text="x"), k=1)
        # The store is still at it when the answer comes; on a busy machine, one may come before it is even asked.
        while not service.metric(STORE_CALLS):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await service.stub.SearchDocuments(request, timeout=0.3)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        held_up.set()


async def test_a_cancelled_call_never_reaches_a_busy_store(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, signer, store_threads=1) as service:
        await service.load(document("one"))
        go, begun, upserts = threading.Event(), threading.Event(), list[int]()
        real = ChromaCell.upsert

        def slow(cell: ChromaCell, collection_id: str, rows: Sequence[object]) -> None:
            upserts.append(len(rows))
            begun.set()
            assert go.wait(HELD_UP_SECONDS)
            real(cell, collection_id, rows)  # type: ignore[arg-type]

        monkeypatch.setattr(ChromaCell, "upsert", slow)
        first = asyncio.create_task(service.load(*(document(f"first-{number}") for number in range(2))))
        assert await asyncio.to_thread(begun.wait, HELD_UP_SECONDS)
        second = asyncio.create_task(
            service.load(*(document(f"second-{number}") for number in range(3)), tenant_id="tenant_b")
        )
        await until(lambda: service.metric(STORE_CALLS) == 2)
        assert service.metric(IMPORTS) == 2
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await until(lambda: service.metric(IMPORTS) == 1)
        go.set()
        await first
        monkeypatch.setattr(ChromaCell, "upsert", real)
        assert 3 not in upserts
        assert await service.collections(signer.grant(tenant_id="tenant_b")) == {}
        assert await service.collections() == {"documents": 3}


async def test_a_write_that_was_acknowledged_or_has_begun_survives_the_end_of_the_service(
    tmp_path: Path, signer: Signer
) -> None:
    acknowledged = 0
    async with running(tmp_path, signer) as service:

        async def write_for_ever() -> None:
            nonlocal acknowledged
            for number in range(10_000):
                await service.load(document(f"d{number}"))
                acknowledged = number + 1

        writer = asyncio.create_task(write_for_ever())
        await until(lambda: acknowledged > 3)
        writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert acknowledged > 3
    async with running(tmp_path, signer) as service:
        assert (await service.collections())["documents"] >= acknowledged


async def test_many_tenants_share_a_small_budget(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, memory_limit_bytes=256 * 2**10) as service:
        tenants = [f"t{number}" for number in range(8)]
        for tenant_id in tenants:
            await service.load(document("one", f"of {tenant_id}"), tenant_id=tenant_id)
        for tenant_id in tenants * 2:
            [result] = (await service.search(signer.grant(tenant_id=tenant_id))).results
            assert result.document.text == f"of {tenant_id}"
        await until(lambda: service.metric("vecsec_open_cells") <= 3)
