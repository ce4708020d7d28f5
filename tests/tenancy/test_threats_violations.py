"""What lists of violations tell: THREATS 12 (nothing of others), 18 (filtered, denied, violation: three numbers)."""

import base64
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.audit_log import read_decisions
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2
from vecsec_policy.audit.verification import verify_log

CROSS_TENANT = access_pb2.VIOLATION_TYPE_CROSS_TENANT_VIOLATION


def listing(
    stack: Stack, token: str, tenant_id: str, page_token: str = ""
) -> Awaitable[gateway_pb2.ListViolationsResponse]:
    request = gateway_pb2.ListViolationsRequest(tenant_id=tenant_id, page_token=page_token)
    return stack.gateway.ListViolations(request, metadata=bearer(token), timeout=SEARCH_SECONDS)


async def trespass(stack: Stack, tenant_id: str, into: str, subject: str) -> None:
    """A caller of one tenant asks for another's rows."""
    with pytest.raises(grpc.aio.AioRpcError):
        await stack.search(stack.issuer.token(tenant_id, "analyst", "INTERNAL", subject), into)


def superuser(stack: Stack, tenant_id: str) -> str:
    """May configure its own tenant and nothing else."""
    return stack.issuer.token(tenant_id, "superuser", "CONFIDENTIAL", f"super-{tenant_id}")


async def test_threat_12_a_tenant_lists_its_own_callers_and_nobody_elses(stack: Stack) -> None:
    await trespass(stack, "tenant_a", "tenant_b", "alice")
    for _ in range(5):
        await trespass(stack, "tenant_b", "tenant_a", "bob")
    answer = (await listing(stack, superuser(stack, "tenant_a"), "tenant_a")).listing
    assert [(each.subject, each.violation_type) for each in answer.violations] == [("alice", CROSS_TENANT)]
    assert b"bob" not in answer.SerializeToString()
    counts = await stack.gateway.CountViolations(
        gateway_pb2.CountViolationsRequest(tenant_id="tenant_a", violation_types=[CROSS_TENANT]),
        metadata=bearer(superuser(stack, "tenant_a")),
    )
    assert [(each.violation_type, each.count) for each in counts.counts.violations] == [(CROSS_TENANT, 1)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("page_token", base64.urlsafe_b64encode(b"[" * 12_000).decode()),
        ("page_token", base64.urlsafe_b64encode(b'{"%b":["\\ud800","cross_tenant_violation"]}').decode()),
        ("start_time", Timestamp(seconds=2**62)),
        ("end_time", Timestamp(seconds=-(2**62))),
        ("end_time", Timestamp(nanos=-5)),
    ],
)
async def test_threat_04_made_up_tokens_and_times_are_named(stack: Stack, field: str, value: object) -> None:
    token = superuser(stack, "tenant_a")
    if isinstance(value, str):
        replica_id = (await listing(stack, token, "tenant_a")).listing.replica_id
        value = base64.urlsafe_b64encode(base64.urlsafe_b64decode(value).replace(b"%b", replica_id.encode())).decode()
    request = gateway_pb2.ListViolationsRequest(tenant_id="tenant_a", **{field: value})
    refused = await refusal(stack.gateway.ListViolations(request, metadata=bearer(token), timeout=SEARCH_SECONDS))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))


async def test_threat_12_a_refused_listing_looks_alike_for_foreign_and_absent_tenants(stack: Stack) -> None:
    await trespass(stack, "tenant_b", "tenant_a", "bob")
    refusals = set()
    for role in ("analyst", "superuser"):
        token = stack.issuer.token("tenant_a", role, "INTERNAL", "alice")
        for tenant_id in ("tenant_b", "tenant_x"):
            refused = await refusal(listing(stack, token, tenant_id))
            assert refused.code is grpc.StatusCode.PERMISSION_DENIED
            refusals.add(refused.details.replace(tenant_id.encode(), b"T"))
    assert len(refusals) == 1


async def test_threat_12_tokens_tell_nothing_of_others_and_open_nothing(stack: Stack) -> None:
    """What a tenant's listing says, tokens included, is the same whatever other tenants do."""
    await trespass(stack, "tenant_a", "tenant_b", "alice")
    before = (await listing(stack, superuser(stack, "tenant_a"), "tenant_a")).listing
    for _ in range(5):
        await trespass(stack, "tenant_b", "tenant_a", "bob")
    after = (await listing(stack, superuser(stack, "tenant_a"), "tenant_a")).listing
    assert after == before
    other = (await listing(stack, superuser(stack, "tenant_b"), "tenant_b")).listing
    refused = await refusal(listing(stack, superuser(stack, "tenant_a"), "tenant_a", other.next_page_token))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("page_token",))


async def test_threat_18_filtered_denied_and_violation_are_three_numbers(stack: Stack) -> None:
    await stack.load("tenant_a", document("open", "a note"), document("secret", "a secret note", "SECRET"))
    token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")
    assert await stack.ids(token, "tenant_a") == ["open"]
    assert stack.metrics(stack.retrieval_service)["vecsec_rows_filtered_total"] == 1
    assert await stack.violations("tenant_a") == {}
    request = policy_pb2.PlanAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_WRITE)
    with pytest.raises(grpc.aio.AioRpcError):
        await stack.policy.PlanAccess(request, metadata=bearer(token))
    assert await stack.violations("tenant_a") == {"denied": 1}
    await trespass(stack, "tenant_a", "tenant_b", "alice")
    assert await stack.violations("tenant_a") == {"denied": 2, "cross_tenant_violation": 1}


async def test_counts_and_lists_survive_a_restart_and_the_log_stays_whole(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        await trespass(stack, "tenant_a", "tenant_b", "alice")
        seen = (await listing(stack, superuser(stack, "tenant_a"), "tenant_a")).listing
    async with running_stack(tmp_path) as stack:
        await trespass(stack, "tenant_a", "tenant_b", "mallory")
        assert await stack.violations("tenant_a") == {"denied": 2, "cross_tenant_violation": 2}
        followed = await listing(stack, superuser(stack, "tenant_a"), "tenant_a", seen.next_page_token)
        assert [each.subject for each in followed.listing.violations] == ["mallory"]
    calls = [decision.call.value for decision in read_decisions(stack.audit_file) if decision.action == "configure"]
    assert calls == ["list", "count", "list"]
    assert verify_log(stack.audit_file).findings == []


async def test_the_index_may_lie_elsewhere_than_the_log_which_it_is_made_from(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        await trespass(stack, "tenant_a", "tenant_b", "alice")
    async with running_stack(tmp_path, VECSEC_VIOLATION_INDEX_DIR=tmp_path / "index") as stack:
        assert await stack.violations("tenant_a") == {"denied": 1, "cross_tenant_violation": 1}
        assert [file.name for file in (tmp_path / "index").glob("*.sqlite")] == ["policy.violations.sqlite"]
