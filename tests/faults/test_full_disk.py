"""A disk that is full, or became read-only, costs writes alone: reads go on, hot, cold and after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
from faults.small_disk import SmallDisk, small_disk
from faults.writer import opened
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.installation import running_installation
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import document_pb2, filter_pb2
from vecsec_chassis.domain.errors import ConfigurationError, LimitExceeded
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_cli.checks import services
from vecsec_cli.checks.finding import CheckState
from vecsec_cli.checks.store import check_store
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_retrieval.cells.heartbeat import WRITES
from vecsec_retrieval.model.filters import Range
from vecsec_retrieval.model.rows import CollectionInfo, Document, StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder.disk import StoreDisk, demand_usable
from vecsec_retrieval.visibility.tagging import to_stored

pytestmark = [pytest.mark.slow, pytest.mark.loop, pytest.mark.timeout(900)]

TENANTS = ("tenant_a", "tenant_b")
ROWS = 40
WRITABLE, STORE_UP, HOT = "vecsec_vector_store_writable", "vecsec_vector_store_up", "vecsec_hot_rows"


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.heartbeat.INTERVAL_SECONDS", 0.05)


@asynccontextmanager
async def running(folder: Path, disk: SmallDisk) -> AsyncIterator[Stack]:
    async with running_stack(folder, tenants={"tenant_c": ["marketing"]}, CHROMA_PATH=disk.folder / "chroma") as stack:
        yield stack


def passage(number: int) -> document_pb2.DocumentInput:
    given = document(f"d{number:02}", f"passage {number} of a book about gardens")
    given.metadata["chapter"].integer_value = number
    return given


def everything(tenant_id: str) -> list[str]:
    return [f"d{number:02}" for number in range(ROWS)] if tenant_id in TENANTS else []


async def is_read(stack: Stack, tenant_id: str) -> None:
    """All ways to read give what is there, and nothing made up, although that was allowed."""
    token = stack.issuer.token(tenant_id, "admin", "SECRET", "reader")
    call = {"metadata": bearer(token), "timeout": SEARCH_SECONDS}
    late = filter_pb2.MetadataFilter(range=filter_pb2.MetadataFilter.Range(key="chapter", at_least=30))
    for wanted, fields in ((ROWS, {}), (10, {"filter": late})):
        answer = await stack.search(token, tenant_id, "gardens", ROWS, fallback=pb.FALLBACK_MOCK, **fields)
        assert answer.mock_reason == pb.MOCK_REASON_UNSPECIFIED
        assert sorted(result.document.document_id for result in answer.results) == everything(tenant_id)[-wanted:]
    listed = await stack.gateway.ListDocumentIds(pb.ListDocumentIdsRequest(tenant_id=tenant_id, page_size=100), **call)
    assert list(listed.document_ids) == everything(tenant_id)
    [collection] = (
        await stack.gateway.ListCollections(pb.ListCollectionsRequest(tenant_id=tenant_id), **call)
    ).collections
    assert collection.document_count == ROWS
    got = await stack.gateway.GetDocuments(
        pb.GetDocumentsRequest(tenant_id=tenant_id, document_ids=["d07", "nothing"], include_embeddings=True), **call
    )
    assert [each.document_id for each in got.documents] == ["d07"]


async def delete(stack: Stack, tenant_id: str) -> None:
    token = stack.issuer.token(tenant_id, "admin", "SECRET", "deleter")
    request = pb.DeleteDocumentsRequest(tenant_id=tenant_id, document_ids=["d00"])
    await stack.gateway.DeleteDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)


async def is_not_written(stack: Stack, words: str) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: stack.load("tenant_a", passage(99)),
        lambda: stack.load("tenant_a", passage(99), collection_id="another"),
        lambda: stack.load("tenant_c", passage(99)),
        lambda: delete(stack, "tenant_a"),
    ]
    for call in calls:
        refused = await refusal(call())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        assert words in refused.message
        assert "reads go on" in refused.message
        assert refused.retry_seconds is None


async def serves(stack: Stack, name: str = "") -> bool:
    async with grpc.aio.insecure_channel(f"localhost:{stack.retrieval_service.port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=name), timeout=SEARCH_SECONDS
        )
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def tells(stack: Stack, chroma: Path) -> None:
    """Health, metrics and doctor: it serves, and takes no writes."""

    async def is_told() -> bool:
        return not await serves(stack, WRITES) and stack.metrics(stack.retrieval_service)[WRITABLE] == 0

    await until(is_told)
    assert await serves(stack)
    assert stack.metrics(stack.retrieval_service)[STORE_UP] == 1
    found = await asyncio.to_thread(
        services.check_health, "retrieval", f"localhost:{stack.retrieval_service.port}", None
    )
    assert found.state is CheckState.FAIL
    assert "serves, but stores nothing: the disk of its store has no room for writes, or is read-only" in found.detail
    [found, *_] = check_store(StateDirectory(stack.folder), {"CHROMA_PATH": str(chroma)})
    assert (found.check, found.state) == ("store's disk", CheckState.FAIL)
    assert "nothing can be stored, searches go on" in found.detail
    gateway = stack.metrics(stack.gateway_service)
    assert not [name for name, value in gateway.items() if name.startswith("vecsec_mock_fallback_total") and value]
    assert gateway["vecsec_circuits_open"] == 0


async def writes_again(stack: Stack) -> None:
    await until(lambda: serves(stack, WRITES))
    assert stack.metrics(stack.retrieval_service)[WRITABLE] == 1
    await stack.load("tenant_a", passage(0))
    await stack.load("tenant_c", passage(0))
    for tenant_id in ("tenant_a", "tenant_c"):
        token = stack.issuer.token(tenant_id, "admin", "SECRET", "reader")
        assert "d00" in await stack.ids(token, tenant_id, "passage 0", 50)


async def load(stack: Stack) -> None:
    for tenant_id in TENANTS:
        await stack.load(tenant_id, *map(passage, range(ROWS)))


async def test_a_full_disk_costs_writes_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with running(tmp_path, disk) as stack:
            await load(stack)
            await is_read(stack, "tenant_a")
            hot = stack.metrics(stack.retrieval_service)[HOT]
            assert hot
            disk.fill()
            await is_not_written(stack, "no room left on the disk")
            await is_read(stack, "tenant_a")
            await tells(stack, disk.folder / "chroma")
            assert stack.metrics(stack.retrieval_service)[HOT] == hot, "what was refused was not begun"
        async with running(tmp_path, disk) as stack:
            for tenant_id in TENANTS:
                await is_read(stack, tenant_id)
            await is_not_written(stack, "no room left on the disk")
            await is_read(stack, "tenant_b")
            await tells(stack, disk.folder / "chroma")
            disk.give_back()
            await writes_again(stack)
            await is_read(stack, "tenant_b")
    written = capsys.readouterr().out
    for line in ("Vector store takes no writes", "Vector store takes writes again", "no room left on the disk"):
        assert line in written
    for line in ("cell is damaged", "Vector store connection lost"):
        assert line not in written


async def test_a_disk_that_becomes_read_only_costs_writes_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with running(tmp_path, disk) as stack:
            await load(stack)
            await is_read(stack, "tenant_a")
            disk.fail()
            await is_not_written(stack, "is read-only")
            for tenant_id in TENANTS:
                await is_read(stack, tenant_id)
            await tells(stack, disk.folder / "chroma")
        async with running(tmp_path, disk) as stack:
            for tenant_id in TENANTS:
                await is_read(stack, tenant_id)
            await is_not_written(stack, "is read-only")
            await tells(stack, disk.folder / "chroma")


async def test_a_store_that_is_mounted_for_reading_is_read_until_it_is_mounted_otherwise(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with running(tmp_path, disk) as stack:
            await load(stack)
        disk.remount("ro")
        async with running(tmp_path, disk) as stack:
            for tenant_id in TENANTS:
                await is_read(stack, tenant_id)
            await is_not_written(stack, "is read-only")
            await tells(stack, disk.folder / "chroma")
            disk.remount("rw")
            await writes_again(stack)


def test_a_read_only_path_without_a_store_ends_the_start_in_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.remount("ro")
        for start in (EmbeddedCellStore, demand_usable):
            with pytest.raises(ConfigurationError, match=r"^CHROMA_PATH: .*Read-only file system") as raised:
                start(disk.folder / "chroma")
            assert "\n" not in str(raised.value)


def test_an_installation_that_has_all_it_keeps_on_a_full_disk_is_read_after_a_restart(tmp_path: Path) -> None:
    rows = [{"id": f"d{each}", "text": "a passage", "sensitivity": "PUBLIC", "topics": ["rag"]} for each in range(ROWS)]
    more = ("import", "-", "--tenant", "tenant_a")
    line = json.dumps({**rows[0], "id": "more"})
    with small_disk(tmp_path / "disk") as disk:
        with running_installation(disk.folder / "installation") as installation:
            installation.import_rows("tenant_a", rows)
            disk.fill(20 * 2**20)
        with running_installation(disk.folder / "installation") as installation:
            token = installation.token("tenant_a", "admin", "SECRET")
            found = installation.search(token, "tenant_a", "a passage", 50)
            assert len(found["results"]) == ROWS
            refused = installation.run(*more, token=token, check=False, stdin=line)
            assert refused.returncode == ExitCode.LIMIT
            assert "make room on that disk, or mount it for writing" in refused.stderr
            told = json.loads(installation.run("doctor", "--json", check=False).stdout)["checks"]
            assert {each["check"] for each in told if each["state"] == "fail"} == {"disk", "store's disk", "retrieval"}
            disk.give_back()
            installation.run(*more, token=token, stdin=line)


@pytest.mark.parametrize("free", [0, 200_000, 1_000_000, 3_000_000, 4_000_000])
def test_a_write_that_meets_the_full_disk_all_the_same_damages_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """Somebody else may take what was free a moment ago."""
    for name in ("require_room", "require_room_for", "require_room_to_delete"):
        monkeypatch.setattr(StoreDisk, name, lambda *_: None)
    with small_disk(tmp_path / "disk") as disk, closing(EmbeddedCellStore(disk.folder / "chroma")) as store:
        with closing(opened(store, "tenant_a")) as cell:
            cell.create_collection(INFO)
            cell.upsert("documents", rows(0, ROWS))
        disk.fill(free)
        writes: list[Callable[[EmbeddedCell], object]] = [
            lambda cell: cell.upsert("documents", rows(500, 500)),
            lambda cell: cell.upsert("documents", rows(1_000, 500)),
            lambda cell: cell.delete("documents", ["507"]),
            lambda cell: cell.create_collection(CollectionInfo("another", "external", 8)),
        ]
        for write in writes:
            # A cell is closed after a write that failed: ChromaDB would wait for its own lock for ever.
            with closing(opened(store, "tenant_a")) as cell, suppress(LimitExceeded):
                write(cell)
            with closing(opened(store, "tenant_a")) as cell:
                before = whole(cell)
        with closing(opened(store, "tenant_a")) as cell:
            assert whole(cell) == before
            disk.give_back()
            cell.upsert("documents", rows(0, 1_500))
            assert whole(cell) == {str(number) for number in range(1_500)}


INFO = CollectionInfo("documents", "external", 256)
LABEL = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}))


def rows(first: int, count: int) -> list[StoredRow]:
    vectors = np.random.default_rng(first).standard_normal((count, INFO.dimensions)).astype(np.float32)
    return [
        to_stored(Document(str(first + number), "a passage " * 40, LABEL, {"number": first + number}, vector))
        for number, vector in enumerate(vectors)
    ]


def whole(cell: EmbeddedCell) -> set[str]:
    """The ids of the rows, which are the same whatever is asked for, and can all be read."""
    ids = cell.find_ids("documents", RowCondition())
    assert {row.document_id for row in cell.get("documents", ids, with_embeddings=True)} == set(ids)
    assert sorted(cell.find_ids("documents", RowCondition(frozenset({LABEL.key})))) == sorted(ids)
    few = cell.find_ids("documents", RowCondition(metadata=Range("number", at_least=30)))
    assert sorted(few) == sorted(each for each in ids if int(each) >= 30)
    return set(ids)
