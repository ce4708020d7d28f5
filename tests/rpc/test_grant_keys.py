"""Keys that sign grants: several replicas with keys of their own, and a rotation that no search notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.issuer import jwks, pem
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.policy.v1.policy_service_pb2 import PlanAccessRequest
from vecsec.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import access_pb2, query_pb2
from vecsec_chassis.auth.grants import signed_part, thumbprint
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        await running.load("tenant_a", document("one", "plans", "PUBLIC"))
        yield running


def publish(stack: Stack, *keys: Ed25519PrivateKey) -> None:
    following = stack.issuer.grant_jwks_file.with_suffix(".next")
    following.write_text(jwks(*keys))
    following.replace(stack.issuer.grant_jwks_file)


def key_id(grant: str) -> str:
    return str(jwt.get_unverified_header(signed_part(grant))["kid"])


def signed_again(grant: str, key: Ed25519PrivateKey) -> str:
    """The same grant by another key."""
    signed = signed_part(grant)
    claims = jwt.decode(signed, options={"verify_signature": False})
    header = jwt.get_unverified_header(signed) | {"kid": thumbprint(key)}
    return jwt.encode(claims, key, algorithm="EdDSA", headers=header) + grant.removeprefix(signed)


async def is_accepted(stack: Stack, grant: str) -> bool:
    request = retrieval_service_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="plans"), k=1)
    try:
        await stack.retrieval.SearchDocuments(request)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED, error
        return False
    return True


@asynccontextmanager
async def replica(stack: Stack, key_file: Path) -> AsyncIterator[PolicyServiceStub]:
    """A second policy service with another key."""
    settings = PolicySettings.model_validate(
        {
            "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
            "VECSEC_POLICY_DIR": stack.policy_folder,
            "VECSEC_GRANT_KEY_FILE": key_file,
            "VECSEC_AUDIT_FILE": stack.folder / "replica" / "audit.jsonl",
            "VECSEC_POLICY_PORT": 0,
            "VECSEC_POLICY_METRICS_PORT": 0,
            "VECSEC_SHUTDOWN_GRACE_SECONDS": 1,
        }
    )
    async with (
        running_policy(settings) as service,
        grpc.aio.insecure_channel(f"localhost:{service.port}") as channel,
    ):
        yield PolicyServiceStub(channel)


async def test_two_replicas_with_keys_of_their_own_are_both_accepted(stack: Stack) -> None:
    other = Ed25519PrivateKey.generate()
    keys = stack.folder / "signing"
    keys.mkdir()
    (keys / "2026-01.pem").write_bytes(pem(stack.issuer.grant_key))
    (keys / "2026-02.pem").write_bytes(pem(other))  # sorts last, so it signs
    publish(stack, stack.issuer.grant_key, other)
    token = stack.issuer.token()
    async with replica(stack, keys) as stub:
        request = PlanAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ)
        plan = await stub.PlanAccess(request, metadata=bearer(token))
        ours = await stack.grant(token, "tenant_a")
        assert (key_id(plan.grant), key_id(ours)) == (thumbprint(other), thumbprint(stack.issuer.grant_key))

        async def both_are_accepted() -> bool:
            return await is_accepted(stack, plan.grant) and await is_accepted(stack, ours)

        await until(both_are_accepted)
        mine = await stack.policy.PlanAccess(request, metadata=bearer(token))
        assert plan.policy_version == mine.policy_version, "replicas of the same files name the same version"


async def test_a_rotation_step_by_step_fails_no_search(stack: Stack) -> None:
    old, new = stack.issuer.grant_key, Ed25519PrivateKey.generate()
    token = stack.issuer.token()
    stop = asyncio.Event()
    seen: list[list[str]] = []

    async def search_on() -> None:
        while not stop.is_set():
            seen.append(await stack.ids(token, "tenant_a"))

    searching = asyncio.create_task(search_on())
    signed_before = await stack.grant(token, "tenant_a")
    publish(stack, old, new)

    async def new_key_is_known() -> bool:
        return await is_accepted(stack, signed_again(signed_before, new))

    await until(new_key_is_known)
    stack.issuer.grant_key_file.write_bytes(pem(new))

    async def new_key_signs() -> bool:
        return key_id(await stack.grant(token, "tenant_a")) == thumbprint(new)

    await until(new_key_signs)
    assert await is_accepted(stack, signed_before)
    publish(stack, new)

    async def old_key_is_gone() -> bool:
        return not await is_accepted(stack, signed_before)

    await until(old_key_is_gone)
    searches = len(seen)

    async def went_on() -> bool:
        return len(seen) > searches + 3 or searching.done()

    await until(went_on)
    stop.set()
    await searching
    assert seen == [["one"]] * len(seen)


async def test_a_broken_key_leaves_the_last_good_one(stack: Stack) -> None:
    stack.issuer.grant_key_file.write_text("no key")

    async def is_told() -> bool:
        return stack.metrics(stack.policy_service)['vecsec_policy_reload_failing{part="grant_key"}'] == 1

    await until(is_told)
    assert await stack.ids(stack.issuer.token(), "tenant_a") == ["one"]


async def test_a_withdrawn_key_takes_its_grants_with_it(stack: Stack) -> None:
    grant = await stack.grant(stack.issuer.token(), "tenant_a")
    assert await is_accepted(stack, grant), "and so it is remembered"
    publish(stack, Ed25519PrivateKey.generate())

    async def is_refused() -> bool:
        return not await is_accepted(stack, grant)

    await until(is_refused)
    assert (await refusal(stack.search(stack.issuer.token(), "tenant_a"))).code is grpc.StatusCode.INTERNAL
