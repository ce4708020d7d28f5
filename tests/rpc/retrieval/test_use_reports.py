"""What retrieval does when the policy service cannot be told of access across tenants, for a while or for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs
from support.refusals import refusal
from support.retrieval_alone import Service, Signer, document, running
from support.waiting import until

from vecsec.policy.v1 import policy_service_pb2 as pb
from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec_chassis.domain.errors import AuditUnavailable
from vecsec_retrieval.reporting import telling
from vecsec_retrieval.reporting.telling import UseReports
from vecsec_retrieval.visibility import grant_uses
from vecsec_retrieval.visibility.grant_uses import GrantUses

TOLD = 'vecsec_foreign_calls_total{outcome="told"}'
LOST = 'vecsec_foreign_calls_total{outcome="lost"}'
WAITING = "vecsec_foreign_uses_waiting"


@dataclass
class FakePolicy(policy_service_pb2_grpc.PolicyServiceServicer):
    """Takes reports, or does not."""

    taken: dict[str, int] = field(default_factory=dict)
    """Calls by use id."""
    refusing: bool = False
    answers: bool = True

    async def ReportForeignAccess(self, request: Any, context: Any) -> Any:
        if self.refusing:
            return pb.ReportForeignAccessResponse(refused_use_ids=[use.use_id for use in request.uses])
        self.taken |= {use.use_id: use.call_count for use in request.uses}
        if not self.answers:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost on its way")
        return pb.ReportForeignAccessResponse()


@asynccontextmanager
async def serving(policy: FakePolicy, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server()
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(policy, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(telling, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(telling, "_LAST_SECONDS", 2.0)


def foreign(signer: Signer, subject: str = "eve") -> str:
    return signer.grant(tenant_id="tenant_a", caller_tenant_id="tenant_x", subject=subject)


async def read(service: Service, grant: str) -> None:
    await service.get("a", grant=grant)


async def test_what_was_done_while_policy_was_away_is_told_when_it_is_back(tmp_path: Path, signer: Signer) -> None:
    policy = FakePolicy()
    async with serving(policy) as port:
        pass
    with capture_logs() as lines:
        async with running(tmp_path, signer, policy_address=f"127.0.0.1:{port}") as service:
            await service.load(document("a"))
            grant = foreign(signer)
            for _ in range(3):
                await read(service, grant)
            await until(lambda: any("cannot be told" in line["event"] for line in lines))
            assert service.metric(WAITING) >= 1
            assert service.metric("vecsec_foreign_uses_oldest_seconds") > 0
            async with serving(policy, port):
                await until(lambda: service.metric(TOLD) == 3)
                assert sum(policy.taken.values()) == 3
                assert service.metric(WAITING) == 0
    [warning] = [line for line in lines if "cannot be told" in line["event"]]
    assert warning["setting"] == "VECSEC_POLICY_ADDRESS"
    assert any(line["event"] == "access across tenants is told again" for line in lines)


async def test_an_answer_that_is_lost_leads_to_the_same_report_again(tmp_path: Path, signer: Signer) -> None:
    policy = FakePolicy(answers=False)
    async with serving(policy) as port, running(tmp_path, signer, policy_address=f"127.0.0.1:{port}") as service:
        await service.load(document("a"))
        await read(service, foreign(signer))
        await until(lambda: policy.taken)
        first = dict(policy.taken)
        policy.answers = True
        await until(lambda: service.metric(TOLD) == 1)
        assert policy.taken == first


async def test_a_service_that_stops_says_what_nobody_was_told(tmp_path: Path, signer: Signer) -> None:
    with capture_logs() as lines:
        async with running(tmp_path, signer, policy_address="127.0.0.1:1") as service:
            await service.load(document("a"))
            for _ in range(2):
                await read(service, foreign(signer))
    lost = [line for line in lines if line["event"] == "access across tenants is not on record"]
    assert sum(line["calls"] for line in lost) == 2
    assert {line["log_level"] for line in lost} == {"error"}


async def test_a_service_that_stops_tells_a_policy_service_that_is_just_restarting(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_LAST_SECONDS", 30.0)
    policy = FakePolicy()
    async with serving(policy) as port:
        pass
    back = asyncio.Event()
    stopped = asyncio.Event()

    async def restart() -> None:
        await back.wait()
        async with serving(policy, port):
            await stopped.wait()

    failing = UseReports._failed

    def failed(reports: UseReports, reason: str) -> None:
        failing(reports, reason)
        if stopping:
            back.set()  # only after an attempt of the last ones has failed

    monkeypatch.setattr(UseReports, "_failed", failed)
    stopping = False
    restarting = asyncio.create_task(restart())
    async with running(tmp_path, signer, policy_address=f"127.0.0.1:{port}") as service:
        await service.load(document("a"))
        for _ in range(3):
            await read(service, foreign(signer))
        stopping = True
    stopped.set()
    await restarting
    assert sum(policy.taken.values()) == 3


async def test_what_policy_refuses_is_counted_as_lost_in_the_end(tmp_path: Path, signer: Signer) -> None:
    policy = FakePolicy(refusing=True)
    async with serving(policy) as port, running(tmp_path, signer, policy_address=f"127.0.0.1:{port}") as service:
        await service.load(document("a"))
        await read(service, foreign(signer))
        await until(lambda: service.metric(LOST) == 1)
        assert service.metric(WAITING) == 0


async def test_own_callers_are_never_told_of(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, policy_address="127.0.0.1:1") as service:
        await service.load(document("a"))
        await service.get("a")
        assert service.metric(WAITING) == 0


async def test_where_no_more_can_be_kept_callers_of_other_tenants_wait_and_own_ones_do_not(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_uses, "MOST_USES", 2)
    async with running(tmp_path, signer, policy_address="127.0.0.1:1") as service:
        await service.load(document("a"))
        for subject in ("eve", "mallory"):
            await read(service, foreign(signer, subject))
        refused = await refusal(read(service, foreign(signer, "trudy")))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        assert refused.retry_seconds == 5
        assert await service.get("a")


async def test_uses_are_handed_out_in_parts_that_fit_a_message() -> None:
    uses = GrantUses()
    for number in range(250):
        uses.count_call(f"{number:03}" + "g" * 5_000)
    sizes = []
    while handed := uses.hand_out():
        assert len(handed) <= 100
        assert sum(len(use.grant) for use in handed) <= 256 * 1024
        sizes.append(len(handed))
        for use in handed:
            uses.let_go(use)
    assert sum(sizes) == 250
    uses.count_call("g" * 60_000)
    assert len(uses.hand_out()) == 1


async def test_memory_is_bounded_in_bytes_too() -> None:
    uses = GrantUses()

    def count_many() -> None:
        for number in range(1_000):
            uses.count_call(f"{number:03}" + "g" * 65_000)

    with pytest.raises(AuditUnavailable):
        count_many()
    for use in uses.hand_out():
        uses.let_go(use)
    uses.count_call("one more")
