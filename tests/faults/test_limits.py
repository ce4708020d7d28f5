"""What the system refuses to a real process of the service is named as what it is, and the log stays JSON."""

import asyncio
import platform
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from faults import refusing
from support.refusals import Refusal, read_refusal, refusal
from support.retrieval_alone import Service, Signer, document
from support.retrieval_process import RetrievalProcess, serving_process, started_process, with_open_files
from support.waiting import until

from vecsec_chassis.process.starting import EXIT_CANNOT_START

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TENANTS = [f"tenant-{number}" for number in range(24)]
AT_ONCE = 8
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


async def outcome(call: Awaitable[object]) -> Refusal | None:
    """How the call was refused; None if it was not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    return None


async def imported(service: Service, tenant_ids: list[str], name: str) -> dict[str, Refusal | None]:
    """How an import into each was received, several at once."""
    told: dict[str, Refusal | None] = {}
    for start in range(0, len(tenant_ids), AT_ONCE):
        page = tenant_ids[start : start + AT_ONCE]
        calls = [outcome(service.load(document(name), tenant_id=tenant_id)) for tenant_id in page]
        told |= dict(zip(page, await asyncio.gather(*calls), strict=True))
    return told


def details(process: RetrievalProcess, message: str = "call refused") -> Counter[str]:
    return Counter(str(entry["detail"]) for entry in process.log() if entry["message"] == message)


async def has(service: Service, tenant_id: str, name: str) -> bool:
    found = await service.get(name, grant=service.signer.grant(tenant_id=tenant_id))
    return [each.document_id for each in found] == [name]


async def test_with_a_hundred_open_files_it_says_what_it_lacks(tmp_path: Path, signer: Signer) -> None:
    async with serving_process(tmp_path, signer, under=with_open_files(100)) as process:
        told = await imported(process.service, TENANTS, "one")
        refused = [each for each in told.values() if each is not None]
        assert refused
        assert {(each.code, each.reason) for each in refused} == {UNAVAILABLE}
        assert all("too many files open" in each.message and each.retry_seconds for each in refused)
        acknowledged = [tenant_id for tenant_id in TENANTS if told[tenant_id] is None]
        assert acknowledged
        assert all([await has(process.service, tenant_id, "one") for tenant_id in acknowledged])
        (detail,) = details(process)
        assert "limit of open files of this process is 100; raise it to 1024 or more (ulimit -n" in detail
        (warning,) = [entry for entry in process.log() if entry["message"] == "few files may be open"]
        assert (warning["level"], warning["limit"]) == ("warning", 100)
    async with serving_process(tmp_path, signer) as process:
        assert all([await has(process.service, tenant_id, "one") for tenant_id in acknowledged])
        assert set((await imported(process.service, TENANTS, "two")).values()) == {None}
        assert not details(process)


async def test_with_too_few_it_does_not_start(tmp_path: Path, signer: Signer) -> None:
    async with started_process(tmp_path, signer, under=with_open_files(64)) as process:
        assert await process.ended() == EXIT_CANNOT_START
        (line,) = (tmp_path / "err").read_text().splitlines()
        assert line.startswith("vecsec retrieval: the limit of open files is 64, and the service needs 96; raise it to")
        assert not (tmp_path / "chroma").exists()


async def test_a_running_service_without_a_file_left_is_not_damaged(tmp_path: Path, signer: Signer) -> None:
    """Callers' connections, too, take files. All of them are taken here, also those that ChromaDB opens later on."""
    async with serving_process(tmp_path, signer) as process:
        assert set((await imported(process.service, TENANTS, "one")).values()) == {None}
        before = resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE)
        for left in (0, 1, 3, 10):
            open_files = len(list(Path(f"/proc/{process.process.pid}/fd").iterdir()))
            resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (open_files + left, before[1]))
            told = await imported(process.service, [*TENANTS[:8], f"new-{left}"], "two")
            refused = {(each.code, each.reason) for each in told.values() if each is not None}
            assert refused <= {UNAVAILABLE}, told
            searched = await outcome(process.service.search(signer.grant(tenant_id=TENANTS[left])))
            assert searched is None or (searched.code, searched.reason) == UNAVAILABLE
            resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, before)
        await until(process.serves, process.told)
        assert set((await imported(process.service, TENANTS, "three")).values()) == {None}
        assert not details(process, "cell is damaged")
        assert any("limit of open files" in detail for detail in details(process))


@pytest.mark.skipif(platform.machine() not in refusing.NUMBERS, reason="knows the system calls of x86_64 and aarch64")
@pytest.mark.parametrize(("number", "words"), [("EPERM", "does not permit it"), ("ENOSYS", "system call is refused")])
async def test_a_system_call_that_is_refused_is_named(tmp_path: Path, signer: Signer, number: str, words: str) -> None:
    async with serving_process(tmp_path, signer) as process:
        await process.service.load(document("one"), tenant_id="tenant_a")
    sandbox = [sys.executable, refusing.__file__, number, "fsync,fdatasync"]
    async with serving_process(tmp_path, signer, under=sandbox) as process:
        refused = await refusal(process.service.load(document("two"), tenant_id="tenant_a"))
        assert (refused.code, refused.reason) == UNAVAILABLE
        (detail,) = details(process)
        assert words in detail
        assert "seccomp" in detail
        assert await has(process.service, "tenant_a", "one")
        assert not details(process, "cell is damaged")


async def test_a_folder_that_goes_away_while_it_is_used_is_named(tmp_path: Path, signer: Signer) -> None:
    async with serving_process(tmp_path, signer) as process:
        for tenant_id in ("tenant_a", "tenant_b"):
            await process.service.load(document("one"), tenant_id=tenant_id)
        shutil.move(tmp_path / "chroma" / "tenant_a", tmp_path / "aside")
        refused = await refusal(process.service.load(document("two"), tenant_id="tenant_a"))
        assert (refused.code, refused.reason) in {UNAVAILABLE, (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED")}
        assert any("not there any more" in detail or "on the list" in detail for detail in details(process))
        await process.service.load(document("two"), tenant_id="tenant_b")
        shutil.move(tmp_path / "aside", tmp_path / "chroma" / "tenant_a")

        async def is_back() -> bool:
            return await outcome(process.service.load(document("three"), tenant_id="tenant_a")) is None

        await until(is_back, process.told)
        assert await has(process.service, "tenant_a", "one")


async def test_a_store_that_is_not_mounted_ends_the_start(tmp_path: Path, signer: Signer) -> None:
    async with serving_process(tmp_path, signer) as process:
        await process.service.load(document("one"), tenant_id="tenant_a")
    (tmp_path / "chroma").rename(tmp_path / "elsewhere")
    (tmp_path / "chroma").mkdir()
    async with started_process(tmp_path, signer, VECSEC_NEW_STORE_UNTIL="") as process:
        assert await process.ended() == EXIT_CANNOT_START
        (line,) = (tmp_path / "err").read_text().splitlines()
        assert line.startswith(f"vecsec retrieval: CHROMA_PATH: {tmp_path / 'chroma'} holds no store; if there was one")
        assert list((tmp_path / "chroma").iterdir()) == []
    (tmp_path / "chroma").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "chroma")
    async with serving_process(tmp_path, signer, VECSEC_NEW_STORE_UNTIL="") as process:
        assert await has(process.service, "tenant_a", "one")
