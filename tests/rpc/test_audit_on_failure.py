"""The audit log's disk is full: the service goes on and tells, or refuses, as it was told; and recovers by itself."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2_grpc
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec_chassis.rpc.server import RunningService
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings
from vecsec_gateway.transport import lane_channel
from vecsec_policy.app import running_policy
from vecsec_policy.audit.verification import verify_log
from vecsec_policy.settings import PolicySettings

DISK_BYTES = 512 * 1024
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@asynccontextmanager
async def stack_on(
    disk: Path, folder: Path, on_failure: str, *, admins_cross: bool = False
) -> AsyncIterator[tuple[Stack, str]]:
    """A stack with its audit log on that disk and a token of a reader."""
    log = disk / "audit" / "policy.jsonl"
    settings = {"VECSEC_AUDIT_FILE": log, "VECSEC_AUDIT_ON_FAILURE": on_failure}
    async with running_stack(folder, admins_cross=admins_cross, **settings) as stack:
        await stack.load("tenant_a", document("d1", "a plan"))
        yield stack, stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return ballast


async def health_of(stack: Stack, service: str) -> int:
    async with grpc.aio.insecure_channel(f"localhost:{stack.policy_service.port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def until_health(stack: Stack, service: str, expected: int) -> None:
    """A service's health follows its log beside the calls."""

    async def is_shown() -> bool:
        return await health_of(stack, service) == expected

    await until(is_shown)


async def test_a_service_that_refuses_decides_nothing_while_it_cannot_record(tmp_path: Path, small_disk: Path) -> None:
    async with stack_on(small_disk, tmp_path / "stack", "refuse") as (stack, token):
        assert await stack.ids(token, "tenant_a") == ["d1"]
        ballast = fill(small_disk)

        async def is_refused() -> bool:
            try:
                await stack.ids(token, "tenant_a")
            except grpc.aio.AioRpcError:
                return True
            return False

        await until(is_refused)
        told = await refusal(stack.search(token, "tenant_a"))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        with pytest.raises(grpc.aio.AioRpcError):
            await stack.violations("tenant_a")
        for name in ("", "vecsec.policy.v1.PolicyService", "vecsec.policy.audit"):
            await until_health(stack, name, NOT_SERVING)
        assert stack.metrics(stack.policy_service)["vecsec_audit_recording"] == 0

        ballast.unlink()
        await until_health(stack, "", SERVING)
        assert await stack.ids(token, "tenant_a") == ["d1"]
    verified = verify_log(small_disk / "audit" / "policy.jsonl")
    assert (verified.findings, verified.notes) == ([], [])


async def test_a_service_that_counts_goes_on_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    async with stack_on(small_disk, tmp_path / "stack", "count") as (stack, token):
        ballast = fill(small_disk)
        searches = 0

        async def is_failing() -> bool:
            nonlocal searches
            assert await stack.ids(token, "tenant_a") == ["d1"]
            searches += 1
            return stack.metrics(stack.policy_service)["vecsec_audit_recording"] == 0

        await until(is_failing)
        assert await stack.ids(token, "tenant_a") == ["d1"]
        await until_health(stack, "vecsec.policy.audit", NOT_SERVING)
        assert await health_of(stack, "") == SERVING
        assert stack.metrics(stack.policy_service)["vecsec_audit_write_failures_total"] > 0
        assert await stack.violations("tenant_a") == {}

        ballast.unlink()
        await until_health(stack, "vecsec.policy.audit", SERVING)
    log = small_disk / "audit" / "policy.jsonl"
    assert verify_log(log).findings == []
    assert log.read_text().count('"call":"check"') >= searches + 1


@pytest.mark.parametrize("on_failure", ["refuse", "count"])
async def test_a_replica_that_cannot_record_is_nobodys_outage_while_another_can(
    tmp_path: Path, small_disk: Path, on_failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_channel, "_LIFE_SECONDS", (0.5, 1.0))  # so that a replica gets its share again soon
    async with stack_on(small_disk, tmp_path / "stack", on_failure) as (stack, token), AsyncExitStack() as exits:
        other = await exits.enter_async_context(policy_beside(stack, tmp_path / "other" / "policy.jsonl", on_failure))
        gateway = await exits.enter_async_context(gateway_before(stack, other))
        channel = await exits.enter_async_context(grpc.aio.insecure_channel(f"localhost:{gateway.port}"))
        searching = replace(stack, gateway=gateway_service_pb2_grpc.GatewayServiceStub(channel))

        def checked(service: RunningService) -> float:
            return stack.metrics(service).get('vecsec_requests_total{code="OK",method="CheckDocuments"}', 0)

        async def both_are_used() -> bool:
            assert await searching.ids(token, "tenant_a") == ["d1"]
            return checked(stack.policy_service) > 2 and checked(other) > 2

        await until(both_are_used)
        ballast = fill(small_disk)

        async def is_failing() -> bool:
            assert await searching.ids(token, "tenant_a") == ["d1"], "no search fails meanwhile"
            return stack.metrics(stack.policy_service)["vecsec_audit_recording"] == 0

        await until(is_failing)

        async def the_other_does_all() -> bool:
            before, of_other = checked(stack.policy_service), checked(other)
            for _ in range(20):
                assert await searching.ids(token, "tenant_a") == ["d1"]
            return checked(stack.policy_service) == before and checked(other) == of_other + 20

        await until(the_other_does_all)
        await until_health(stack, "vecsec.policy.audit", NOT_SERVING)

        ballast.unlink()
        await until(both_are_used_again(searching, token, lambda: checked(stack.policy_service)))
    assert verify_log(small_disk / "audit" / "policy.jsonl").findings == []


def both_are_used_again(
    searching: Stack, token: str, calls: Callable[[], float]
) -> Callable[[], Coroutine[object, object, bool]]:
    """Whether the replica gets calls again, of those that this makes."""
    before = calls()

    async def is_used() -> bool:
        assert await searching.ids(token, "tenant_a") == ["d1"]
        return calls() > before

    return is_used


def policy_beside(stack: Stack, log: Path, on_failure: str) -> AbstractAsyncContextManager[RunningService]:
    """A second policy service with the keys and rules of the first, and a disk of its own."""
    return running_policy(
        PolicySettings.model_validate(
            {
                "VECSEC_POLICY_PORT": 0,
                "VECSEC_POLICY_METRICS_PORT": 0,
                "VECSEC_POLICY_DIR": stack.policy_folder,
                "VECSEC_GRANT_KEY_FILE": stack.issuer.grant_key_file,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_REPLICA_ID": "other",
                "VECSEC_AUDIT_FILE": log,
                "VECSEC_AUDIT_ON_FAILURE": on_failure,
            }
        )
    )


def gateway_before(stack: Stack, other: RunningService) -> AbstractAsyncContextManager[RunningService]:
    """A gateway that asks both policy services, and remembers no plans."""
    ports = stack.policy_service.port, other.port
    return running_gateway(
        GatewaySettings.model_validate(
            {
                "VECSEC_GATEWAY_PORT": 0,
                "VECSEC_GATEWAY_METRICS_PORT": 0,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_POLICY_ADDRESS": f"ipv4:{','.join(f'127.0.0.1:{port}' for port in ports)}",
                "VECSEC_RETRIEVAL_ADDRESS": f"localhost:{stack.retrieval_service.port}",
                "VECSEC_PLAN_MEMORY_SECONDS": 0,
                "VECSEC_POLICY_TIMEOUT_SECONDS": SEARCH_SECONDS,
                "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": SEARCH_SECONDS,
            }
        )
    )


async def test_what_others_read_meanwhile_is_on_record_once_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    """Retrieval keeps it until the policy service says that it is on the disk."""
    async with stack_on(small_disk, tmp_path / "stack", "count", admins_cross=True) as (stack, token):
        grant = await stack.grant(stack.issuer.token("tenant_b", "admin", "SECRET", "eve"), "tenant_a")
        ballast = fill(small_disk)

        async def is_failing() -> bool:
            await stack.ids(token, "tenant_a")
            return stack.metrics(stack.policy_service)["vecsec_audit_recording"] == 0

        await until(is_failing)
        read = retrieval_pb2.GetDocumentsRequest(grant=grant, document_ids=["d1"])
        for _ in range(5):
            await stack.retrieval.GetDocuments(read)
        told = 'vecsec_foreign_calls_total{outcome="told"}'
        await until(lambda: stack.metrics(stack.retrieval_service)["vecsec_foreign_uses_oldest_seconds"] > 3)
        assert stack.metrics(stack.retrieval_service)[told] == 0
        ballast.unlink()
        await until(lambda: stack.metrics(stack.retrieval_service)[told] == 5)
        admin = stack.issuer.token("tenant_a", "admin", "SECRET", "auditor")
        request = policy_pb2.ListForeignAccessRequest(tenant_id="tenant_a")
        listed = await stack.policy.ListForeignAccess(request, metadata=bearer(admin))
        uses = [each for each in listed.accesses if each.kind == "use"]
        assert (sum(each.call_count for each in uses), sum(each.row_count for each in uses)) == (5, 5)
    assert verify_log(small_disk / "audit" / "policy.jsonl").findings == []
