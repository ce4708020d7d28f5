"""The policy service over gRPC, in its production wiring, with real tokens and keys."""

import json
import re
import shutil
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from support.issuer import Issuer

from vecsec.policy.v1 import policy_service_pb2, policy_service_pb2_grpc
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2, value_pb2
from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.auth.keys import FileKeySource
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_policy.app import running_policy
from vecsec_policy.handlers import SERVICE_NAME
from vecsec_policy.settings import PACKAGED_POLICY, PolicySettings

READ, WRITE = access_pb2.ACTION_READ, access_pb2.ACTION_WRITE
ALLOW, WITHHOLD = access_pb2.DECISION_ALLOW, access_pb2.DECISION_WITHHOLD


@dataclass
class Running:
    """A running policy service and what a caller needs."""

    issuer: Issuer
    stub: "policy_service_pb2_grpc.PolicyServiceAsyncStub"
    channel: grpc.aio.Channel
    metrics_port: int
    audit_file: Path

    def bearer(self, **claims: str) -> tuple[tuple[str, str], ...]:
        """Metadata with a token; the caller is alice, an analyst of tenant_a, unless told otherwise."""
        return (("authorization", f"Bearer {self.issuer.token(**claims)}"),)

    def metric(self, name: str) -> float:
        """The value that Prometheus would read."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


def settings_for(folder: Path, issuer: Issuer, policy_dir: Path = PACKAGED_POLICY) -> PolicySettings:
    return PolicySettings(
        _env_file=None,
        port=0,
        metrics_port=0,
        issuers_file=issuer.issuers_file,
        grant_key_file=issuer.grant_key_file,
        policy_dir=policy_dir,
        audit_file=folder / "audit" / "policy.jsonl",
    )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    issuer = Issuer(folder / "issuer")
    settings = settings_for(folder, issuer)
    async with running_policy(settings) as service, grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
        yield Running(issuer, stub, channel, service.metrics_port, settings.audit_file)


@pytest.fixture
async def policy(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as service:
        yield service


def label(
    tenant_id: str = "tenant_a", sensitivity: int = 2, topics: tuple[str, ...] = ("rag",), **attributes: value_pb2.Value
) -> label_pb2.Label:
    level = sensitivity_pb2.Sensitivity.Name(sensitivity)
    return label_pb2.Label(tenant_id=tenant_id, sensitivity=level, topics=topics, attributes=attributes)


def plan(tenant_id: str = "tenant_a", action: int = READ) -> policy_service_pb2.PlanAccessRequest:
    return policy_service_pb2.PlanAccessRequest(tenant_id=tenant_id, action=access_pb2.Action.Name(action))


def refused(error: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[str, str]:
    """Status and reason of a refusal."""
    status = rpc_status.from_call(error.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "vecsec"
    return error.value.code().name, info.reason


async def test_a_plan_is_a_grant_that_verifies(policy: Running) -> None:
    response = await policy.stub.PlanAccess(plan(), metadata=policy.bearer(clearance="SECRET"))
    grant = await GrantVerifier(FileKeySource(policy.issuer.grant_jwks_file, "VECSEC_GRANT_JWKS")).verify(
        response.grant
    )
    assert (grant.subject, grant.tenant_id, grant.action) == ("alice", "tenant_a", Action.READ)
    assert grant.policy_version == response.policy_version
    assert abs(grant.expires_at - response.expire_time.ToSeconds()) <= 1
    assert response.caller == policy_service_pb2.Caller(
        subject="alice", tenant_id="tenant_a", role="analyst", effective_clearance=sensitivity_pb2.SENSITIVITY_INTERNAL
    )
    assert list(response.topics) == ["langchain", "marketing", "rag", "retrieval"]
    assert len(response.grant) < 8_000, "the grant travels in the metadata or body of each hop"


async def test_rows_are_decided_by_their_labels(policy: Running) -> None:
    metadata = policy.bearer()
    version = (await policy.stub.PlanAccess(plan(), metadata=metadata)).policy_version
    request = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a",
        action=READ,
        labels=[
            label(),
            label(sensitivity=4),
            label("tenant_b"),
            label(topics=("finance",)),
            label(sensitivity=0),
            label(owner=value_pb2.Value(string_value="alice")),
            label(ower=value_pb2.Value(string_value="alice")),
        ],
        planned_policy_version=version,
    )
    response = await policy.stub.CheckDocuments(request, metadata=metadata)
    assert [verdict.decision for verdict in response.verdicts] == [ALLOW, *[WITHHOLD] * 4, ALLOW, WITHHOLD]
    assert [verdict.violation_type for verdict in response.verdicts] == [
        access_pb2.VIOLATION_TYPE_UNSPECIFIED,
        access_pb2.VIOLATION_TYPE_CLEARANCE_VIOLATION,
        access_pb2.VIOLATION_TYPE_DOCUMENT_TENANT_VIOLATION,
        access_pb2.VIOLATION_TYPE_TOPIC_VIOLATION,
        access_pb2.VIOLATION_TYPE_CLEARANCE_VIOLATION,
        access_pb2.VIOLATION_TYPE_UNSPECIFIED,
        access_pb2.VIOLATION_TYPE_UNSPECIFIED,
    ]
    assert policy.metric('vecsec_rlsa_violations_total{violation_type="clearance_violation"}') == 2
    assert policy.metric('vecsec_rlsa_violations_total{violation_type="cross_tenant_violation"}') == 0
    assert policy.metric("vecsec_plan_check_divergence_total") == 5
    assert policy.metric('vecsec_decisions_total{decision="allow"}') == 2


async def test_an_attribute_of_a_kind_that_rules_cannot_use_is_named(policy: Running) -> None:
    request = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a", action=READ, labels=[label(), label(owner=value_pb2.Value(number_value=0.5))]
    )
    with pytest.raises(grpc.aio.AioRpcError, match=r"labels\[1\]\.attributes\['owner'\]") as error:
        await policy.stub.CheckDocuments(request, metadata=policy.bearer())
    assert refused(error) == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_a_foreign_tenant_looks_the_same_whether_it_exists_or_not(policy: Running) -> None:
    answers = set()
    for tenant_id in ("tenant_b", "tenant_x"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await policy.stub.PlanAccess(plan(tenant_id), metadata=policy.bearer())
        assert refused(error) == ("PERMISSION_DENIED", "ACCESS_DENIED")
        status = rpc_status.from_call(error.value)
        assert status is not None
        answers.add(status.SerializeToString().replace(tenant_id.encode(), b"<tenant>"))
    assert len(answers) == 1
    assert policy.metric('vecsec_rlsa_violations_total{violation_type="cross_tenant_violation"}') == 2
    assert policy.metric('vecsec_denials_total{action="read"}') == 2


async def test_only_the_verified_token_says_who_calls(policy: Running) -> None:
    spoofed = (("x-tenant-id", "tenant_b"), ("role", "admin"), ("tenant_id", "tenant_b"), ("clearance", "SECRET"))
    response = await policy.stub.PlanAccess(plan(), metadata=(*policy.bearer(), *spoofed))
    assert response.caller.role == "analyst"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await policy.stub.PlanAccess(plan("tenant_b"), metadata=(*policy.bearer(), *spoofed))
    assert refused(error) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await policy.stub.PlanAccess(plan(), metadata=spoofed)
    assert refused(error) == ("UNAUTHENTICATED", "INVALID_TOKEN")


async def test_an_unknown_tenant_of_ones_own_is_named(policy: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="orphan") as error:
        await policy.stub.PlanAccess(plan("orphan"), metadata=policy.bearer(tenant_id="orphan"))
    assert refused(error) == ("INVALID_ARGUMENT", "UNKNOWN_TENANT")


async def test_malformed_requests_are_refused(policy: Running) -> None:
    for request in (plan("../tenant_a"), plan(""), policy_service_pb2.PlanAccessRequest(tenant_id="tenant_a")):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await policy.stub.PlanAccess(request, metadata=policy.bearer())
        assert refused(error) == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_explanations_name_rules_to_administrators_only(policy: Running) -> None:
    request = policy_service_pb2.ExplainAccessRequest(tenant_id="tenant_a", action=READ, label=label(sensitivity=4))
    plain = await policy.stub.ExplainAccess(request, metadata=policy.bearer())
    assert (plain.decision, len(plain.incident_id), len(plain.determining_rules)) == (WITHHOLD, 32, 0)
    superuser = policy.bearer(role="superuser", clearance="CONFIDENTIAL")
    full = await policy.stub.ExplainAccess(request, metadata=superuser)
    assert [rule.rule_id for rule in full.determining_rules] == ["row-clearance"]
    assert "principal.clearance" in full.determining_rules[0].text
    foreign = policy_service_pb2.ExplainAccessRequest(tenant_id="tenant_x", action=READ, label=label("tenant_x"))
    denied = await policy.stub.ExplainAccess(foreign, metadata=policy.bearer())
    assert (denied.decision, len(denied.incident_id), len(denied.determining_rules)) == (WITHHOLD, 32, 0)


async def test_violations_are_counted_for_administrators(policy: Running) -> None:
    for tenant_id in ("tenant_b", "tenant_x"):
        with pytest.raises(grpc.aio.AioRpcError):
            await policy.stub.PlanAccess(plan(tenant_id), metadata=policy.bearer())
    with pytest.raises(grpc.aio.AioRpcError):
        await policy.stub.PlanAccess(plan(action=WRITE), metadata=policy.bearer())
    request = policy_service_pb2.CountViolationsRequest(tenant_id="tenant_a")
    response = await policy.stub.CountViolations(request, metadata=policy.bearer(role="admin", clearance="SECRET"))
    counts = {entry.violation_type: entry.count for entry in response.violations}
    assert len(counts) == 6
    assert counts[access_pb2.VIOLATION_TYPE_CROSS_TENANT_VIOLATION] == 2
    assert sum(counts.values()) == 2
    assert response.denied_count == 3
    planned = await policy.stub.PlanAccess(plan(), metadata=policy.bearer())
    assert response.policy_version == planned.policy_version != ""
    listing = policy_service_pb2.ListViolationsRequest(tenant_id="tenant_a")
    listed = await policy.stub.ListViolations(listing, metadata=policy.bearer(role="admin", clearance="SECRET"))
    assert listed.policy_version == planned.policy_version
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await policy.stub.CountViolations(request, metadata=policy.bearer())
    assert refused(error) == ("PERMISSION_DENIED", "ACCESS_DENIED")


async def test_health_says_serving_once_the_policy_is_loaded(policy: Running) -> None:
    health = health_pb2_grpc.HealthStub(policy.channel)
    for name in ("", SERVICE_NAME):
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_every_decision_is_on_disk_after_shutdown_without_token_or_grant(tmp_path: Path) -> None:
    async with running(tmp_path) as policy:
        token = policy.issuer.token()
        metadata = (("authorization", f"Bearer {token}"), ("x-request-id", "my-request"))
        planned = await policy.stub.PlanAccess(plan(), metadata=metadata)
        check = policy_service_pb2.CheckDocumentsRequest(
            tenant_id="tenant_a", action=READ, labels=[label(), label("x")]
        )
        await policy.stub.CheckDocuments(check, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await policy.stub.PlanAccess(plan("tenant_b"), metadata=metadata)
        audit_file = policy.audit_file
    text = audit_file.read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [(record["call"], record["outcome"]) for record in records] == [
        ("plan", "allowed"),
        ("check", "allowed"),
        ("plan", "denied"),
    ]
    assert {record["request_id"] for record in records} == {"my-request"}
    assert {record["policy_version"] for record in records} == {planned.policy_version}
    assert records[1]["withheld"][0]["rule_ids"] == ["row-tenant"]
    assert records[2]["violations"] == {"cross_tenant_violation": 1}
    assert token not in text
    assert planned.grant not in text


async def test_a_broken_policy_ends_the_start(tmp_path: Path) -> None:
    folder = shutil.copytree(PACKAGED_POLICY, tmp_path / "policy")
    (folder / "tenants.yaml").write_text("tenants:\n  tenant_a:\n    topics: []\n")
    with pytest.raises(ConfigurationError, match=r"tenants\.yaml:3: tenant 'tenant_a' has no topics"):
        async with running_policy(settings_for(tmp_path, Issuer(tmp_path / "issuer"), folder)):
            pass
