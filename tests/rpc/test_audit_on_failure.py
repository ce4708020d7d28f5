"""The audit log's disk is full: the service goes on and tells, or refuses, as it was told; and recovers by itself."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.stack import Stack, document, running_stack
from support.waiting import until

from vecsec_policy.audit.verification import verify_log

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
async def stack_on(disk: Path, folder: Path, on_failure: str) -> AsyncIterator[tuple[Stack, str]]:
    """A stack with its audit log on that disk and a token of a reader."""
    log = disk / "audit" / "policy.jsonl"
    async with running_stack(folder, VECSEC_AUDIT_FILE=log, VECSEC_AUDIT_ON_FAILURE=on_failure) as stack:
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
