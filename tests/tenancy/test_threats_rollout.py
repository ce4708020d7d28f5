"""Rules that are tried and promoted step by step: THREATS 10 (caches), 11 (fail open), 12 (what others can notice)."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.policy.v1 import policy_service_pb2
from vecsec.type.v1 import access_pb2, label_pb2

ROWS = (document("open", "plans", "PUBLIC"), document("internal", "plans", "INTERNAL"))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, admins_cross=True, VECSEC_POLICY_ROLLOUT_FILE=tmp_path / "rollout.yaml"
    ) as running:
        await running.load("tenant_a", *ROWS)
        await running.load("tenant_b", *ROWS)
        candidate = shutil.copytree(running.policy_folder, tmp_path / "next")
        roles = candidate / "roles.yaml"
        roles.write_text(roles.read_text().replace("max_clearance: INTERNAL", "max_clearance: PUBLIC"))
        yield running


def roll_out(stack: Stack, **what: object) -> None:
    (stack.folder / "rollout.yaml").write_text(json.dumps({"candidate": "next", **what}))


async def candidate_is_loaded(stack: Stack) -> None:
    async def is_loaded() -> bool:
        return any('stage="candidate"' in series for series in stack.metrics(stack.policy_service))

    await until(is_loaded)


async def seen(stack: Stack, tenant_id: str) -> list[str]:
    return sorted(await stack.ids(stack.issuer.token(tenant_id), tenant_id))


async def test_threat_11_a_candidate_in_the_shadow_decides_nothing(stack: Stack) -> None:
    roll_out(stack, shadow={"share": 1})
    await candidate_is_loaded(stack)
    answer = await stack.search(stack.issuer.token("tenant_a"), "tenant_a")
    assert sorted(row.document.document_id for row in answer.results) == ["internal", "open"]
    series = 'vecsec_policy_shadow_disagreements_total{change="lost",kind="row"}'

    async def is_counted() -> bool:
        return stack.metrics(stack.policy_service)[series] >= 1

    await until(is_counted)
    assert not await stack.violations("tenant_a"), "what the candidate refuses is no violation"

    async def is_recorded() -> bool:
        return '"kind":"shadow"' in "".join(path.read_text() for path in stack.audit_file.parent.glob("*.jsonl*"))

    await until(is_recorded)


async def test_threat_10_a_promoted_tenant_is_decided_by_the_candidate_alone_and_no_other_is(stack: Stack) -> None:
    before = [await seen(stack, tenant) for tenant in ("tenant_a", "tenant_b")]
    assert before == [["internal", "open"]] * 2
    roll_out(stack, promoted={"tenants": ["tenant_a"]})

    async def is_promoted() -> bool:
        return await seen(stack, "tenant_a") == ["open"]

    await until(is_promoted)
    assert await seen(stack, "tenant_b") == ["internal", "open"]
    # The tenant whose rows are asked for decides, not the caller's.
    admin = stack.issuer.token("tenant_b", "admin", "SECRET")
    versions = {(await stack.search(admin, tenant)).policy_version for tenant in ("tenant_a", "tenant_b")}
    assert len(versions) == 2
    (stack.folder / "rollout.yaml").unlink()

    async def is_rolled_back() -> bool:
        return await seen(stack, "tenant_a") == ["internal", "open"]

    await until(is_rolled_back)


async def test_threat_11_a_promoted_candidate_that_breaks_decides_as_before(stack: Stack) -> None:
    roll_out(stack, promoted={"tenants": ["tenant_a"]})

    async def is_promoted() -> bool:
        return await seen(stack, "tenant_a") == ["open"]

    await until(is_promoted)
    (stack.folder / "next" / "access.cedar").write_text("permit (principal, action, resource);")

    async def is_told() -> bool:
        return stack.metrics(stack.policy_service)['vecsec_policy_reload_failing{part="candidate"}'] == 1

    await until(is_told)
    assert await seen(stack, "tenant_a") == ["open"]
    assert await seen(stack, "tenant_b") == ["internal", "open"]


def status_request(tenant_id: str = "tenant_a") -> gateway_service_pb2.GetPolicyStatusRequest:
    return gateway_service_pb2.GetPolicyStatusRequest(tenant_id=tenant_id)


async def test_threat_12_the_status_is_for_whoever_may_configure_and_of_their_tenant_alone(stack: Stack) -> None:
    roll_out(stack, shadow={"share": 1, "tenants": ["tenant_a"]}, promoted={"tenants": ["python_core"]})
    await candidate_is_loaded(stack)
    await seen(stack, "tenant_a")
    superuser = bearer(stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL"))

    async def status() -> policy_service_pb2.GetPolicyStatusResponse:
        return (await stack.gateway.GetPolicyStatus(status_request(), metadata=superuser)).status

    async def is_counted() -> bool:
        return (await status()).disagreements.rows_lost >= 1

    await until(is_counted)
    told = await status()
    assert told.policy_version != told.candidate_version
    assert (told.shadow_share, told.is_promoted, told.is_reload_failing) == (1.0, False, False)
    other = bearer(stack.issuer.token("tenant_b", "superuser", "CONFIDENTIAL"))
    (stack.folder / "rollout.yaml").write_text("candidate: [")

    async def is_failing() -> bool:
        return (await status()).is_reload_failing

    await until(is_failing)
    theirs = (await stack.gateway.GetPolicyStatus(status_request("tenant_b"), metadata=other)).status
    assert theirs.disagreements == policy_service_pb2.ShadowDisagreements()
    assert (theirs.shadow_share, theirs.is_promoted) == (0.0, False)
    for refused_caller in (other, bearer(stack.issuer.token("tenant_a"))):
        refused = await refusal(stack.gateway.GetPolicyStatus(status_request(), metadata=refused_caller))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


async def test_every_answer_names_the_policy_that_it_was_made_by(stack: Stack) -> None:
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    version = (await stack.gateway.GetPolicyStatus(status_request(), metadata=admin)).status.policy_version
    store = gateway_service_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document("new", "plans")])
    stored = [answer async for answer in stack.gateway.ImportDocuments(iter([store]), metadata=admin)]
    ids = {"tenant_id": "tenant_a", "document_ids": ["new"]}
    label = label_pb2.Label(tenant_id="tenant_a", topics=["rag"])
    explain = gateway_service_pb2.ExplainAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=label)
    answers = [
        *stored,
        await stack.gateway.GetDocuments(gateway_service_pb2.GetDocumentsRequest(**ids), metadata=admin),
        await stack.gateway.DeleteDocuments(gateway_service_pb2.DeleteDocumentsRequest(**ids), metadata=admin),
        await stack.gateway.ListCollections(
            gateway_service_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=admin
        ),
        await stack.gateway.ListLabels(gateway_service_pb2.ListLabelsRequest(tenant_id="tenant_a"), metadata=admin),
        (await stack.gateway.ExplainAccess(explain, metadata=admin)).explanation,
        await stack.search(admin[0][1].removeprefix("Bearer "), "tenant_a"),
    ]
    assert [answer.policy_version for answer in answers] == [version] * 7
