"""Rules that change while everything runs: THREATS 10 (caches), 11 (fail open), 31 (blocked changes)."""

import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.stack import Stack, bearer, document
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.policy.v1 import policy_service_pb2
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2
from vecsec_chassis.rpc.server import RunningService

PATIENCE_SECONDS = 120


def edit(stack: Stack, file: str, old: str, new: str) -> str:
    """Change a policy file; what it was before."""
    path = stack.policy_folder / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    return before


async def reload_entry(service: RunningService) -> int:
    async with grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
        request = health_pb2.HealthCheckRequest(service="vecsec.policy.reload")
        return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def version(stack: Stack) -> str:
    return (await stack.search(stack.issuer.token(), "tenant_a")).policy_version


async def test_threat_10_a_changed_rule_reaches_checks_plans_and_what_was_remembered(stack: Stack) -> None:
    await stack.load("tenant_a", document("secret", "plans", "INTERNAL"), document("open", "plans", "PUBLIC"))
    token = stack.issuer.token()
    before = await stack.search(token, "tenant_a")
    assert sorted(row.document.document_id for row in before.results) == ["open", "secret"]
    label = label_pb2.Label(
        tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL, topics=["marketing"]
    )
    check = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a", action=access_pb2.ACTION_READ, labels=[label]
    )

    async def decision() -> access_pb2.Decision.ValueType:
        answer = await stack.policy.CheckDocuments(check, metadata=bearer(token))
        return answer.verdicts[0].decision

    assert await decision() == access_pb2.DECISION_ALLOW
    edit(stack, "roles.yaml", "max_clearance: INTERNAL", "max_clearance: PUBLIC")

    async def is_withheld() -> bool:
        return await decision() == access_pb2.DECISION_WITHHOLD

    await until(is_withheld)
    # From the moment on at which the check refuses, no search through the gateway shows the row.
    after = await stack.search(token, "tenant_a")
    assert [row.document.document_id for row in after.results] == ["open"]
    assert after.policy_version != before.policy_version
    counts = await stack.violations("tenant_a")
    assert "plan_check_divergence" not in counts, "two versions differ, which is no divergence of one"


async def test_threat_10_plans_made_ahead_are_by_the_new_rules_and_each_callers_own(stack: Stack) -> None:
    """What callers asked for lately is planned before a change is in force."""
    for tenant_id in ("tenant_a", "tenant_b"):
        await stack.load(tenant_id, document(f"open-{tenant_id}", "plans", "PUBLIC"))
        await stack.load(tenant_id, document(f"secret-{tenant_id}", "plans", "INTERNAL"))
    callers = {
        (tenant_id, clearance): stack.issuer.token(tenant_id, "analyst", clearance)
        for tenant_id in ("tenant_a", "tenant_b")
        for clearance in ("PUBLIC", "INTERNAL")
    }

    async def visible() -> dict[tuple[str, str], list[str]]:
        answers = {who: await stack.search(token, who[0]) for who, token in callers.items()}
        return {who: sorted(row.document.document_id for row in answer.results) for who, answer in answers.items()}

    expected = {who: [f"open-{who[0]}"] + ([f"secret-{who[0]}"] if who[1] == "INTERNAL" else []) for who in callers}
    assert await visible() == expected
    edit(stack, "roles.yaml", "max_clearance: INTERNAL", "max_clearance: PUBLIC")
    expected_after = {who: [f"open-{who[0]}"] for who in callers}

    async def is_in_force() -> bool:
        return await visible() == expected_after

    await until(is_in_force)


async def test_threat_10_a_changed_tenant_gains_and_loses_at_once(stack: Stack) -> None:
    token = stack.issuer.token("tenant_new", "analyst", "INTERNAL")
    refused = await refusal(stack.search(token, "tenant_new"))
    assert refused.reason == "UNKNOWN_TENANT"
    old = edit(stack, "tenants.yaml", "tenants:\n", "tenants:\n  tenant_new: {topics: [rag]}\n")

    async def is_known() -> bool:
        try:
            await stack.search(token, "tenant_new")
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(is_known)
    (stack.policy_folder / "tenants.yaml").write_text(old)

    async def is_unknown() -> bool:
        return not await is_known()

    await until(is_unknown)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("access.cedar", "permit (principal, action, resource);\n"),  # would let everybody read everything
        ("access.cedar", "permit (principal, action, resource) when { " + "(" * 10_000),
        ("tenants.yaml", "tenants: ["),
    ],
)
async def test_threat_11_a_policy_that_breaks_leaves_the_last_good_one(stack: Stack, file: str, content: str) -> None:
    await stack.load("tenant_a", document("open", "plans", "PUBLIC"), document("secret", "plans", "SECRET"))
    token = stack.issuer.token()
    before = await stack.search(token, "tenant_a")
    assert await reload_entry(stack.policy_service) == health_pb2.HealthCheckResponse.SERVING
    path = stack.policy_folder / file
    good = path.read_text()
    path.write_text(content)

    async def is_told() -> bool:
        return await reload_entry(stack.policy_service) == health_pb2.HealthCheckResponse.NOT_SERVING

    await until(is_told)
    after = await stack.search(token, "tenant_a")
    assert [row.document.document_id for row in after.results] == ["open"]
    assert after.policy_version == before.policy_version
    assert (await refusal(stack.search(token, "tenant_b"))).reason == "ACCESS_DENIED"
    metrics = stack.metrics(stack.policy_service)
    assert metrics['vecsec_policy_reload_failing{part="policy"}'] == 1
    assert metrics['vecsec_policy_reloads_total{part="policy",result="refused"}'] == 1
    path.write_text(good)

    async def is_well() -> bool:
        return await reload_entry(stack.policy_service) == health_pb2.HealthCheckResponse.SERVING

    await until(is_well)
    assert (await stack.search(token, "tenant_a")).policy_version == before.policy_version


@pytest.mark.parametrize(("role", "clearance"), [("guest", "PUBLIC"), ("analyst", "INTERNAL")])
async def test_threat_31_who_may_not_write_blocks_no_change_of_the_policy(
    stack: Stack, role: str, clearance: str
) -> None:
    """They ask about labels that nobody stored, at every method that takes one."""
    made_up = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"])
    made_up.attributes["region"].string_value = "made-up"
    metadata = bearer(stack.issuer.token("tenant_a", role, clearance))
    request = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a", action=access_pb2.ACTION_READ, labels=[made_up]
    )
    answer = await stack.policy.CheckDocuments(request, metadata=metadata)
    assert answer.verdicts[0].decision == access_pb2.DECISION_ALLOW
    request.action = access_pb2.ACTION_WRITE
    assert (await refusal(stack.policy.CheckDocuments(request, metadata=metadata))).reason == "ACCESS_DENIED"
    explain = policy_service_pb2.ExplainAccessRequest(
        tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=made_up
    )
    assert (await stack.policy.ExplainAccess(explain, metadata=metadata)).decision == access_pb2.DECISION_ALLOW
    before = await version(stack)
    edit(stack, "schema.cedarschema", "  region?: String,\n", "")

    async def is_in_force() -> bool:
        return await version(stack) != before

    await until(is_in_force)
    assert await reload_entry(stack.policy_service) == health_pb2.HealthCheckResponse.SERVING


async def test_threat_31_stored_rows_hold_up_a_change_that_would_hide_them(stack: Stack) -> None:
    row = document("eu", "plans", "PUBLIC")
    row.attributes["region"].string_value = "eu"
    await stack.load("tenant_a", row)
    before = await version(stack)
    edit(stack, "schema.cedarschema", "  region?: String,\n", "")

    async def is_told() -> bool:
        return await reload_entry(stack.policy_service) == health_pb2.HealthCheckResponse.NOT_SERVING

    await until(is_told)
    assert await version(stack) == before
    assert await stack.ids(stack.issuer.token(), "tenant_a") == ["eu"]


async def test_versions_are_shown(stack: Stack) -> None:
    answer: gateway_service_pb2.SearchDocumentsResponse = await stack.search(stack.issuer.token(), "tenant_a")
    metrics = stack.metrics(stack.policy_service)
    assert metrics[f'vecsec_policy_info{{stage="current",version="{answer.policy_version}"}}'] == 1
    assert abs(metrics['vecsec_policy_loaded_timestamp_seconds{stage="current"}'] - time.time()) < PATIENCE_SECONDS
