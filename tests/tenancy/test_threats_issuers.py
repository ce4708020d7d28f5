"""Who speaks for whom: THREATS 25 (an issuer speaks for a tenant that is not its own; two people become one)."""

import json
from pathlib import Path

import grpc
import pytest
from support.issuer import Issuer
from support.issuers_file import code_of, own, told, write
from support.stack import Stack, document
from support.waiting import until

CLUSTER = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture
def cluster(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "cluster", name=CLUSTER)


async def test_threat_25_an_issuer_of_one_company_cannot_speak_for_another(stack: Stack, cluster: Issuer) -> None:
    bounded = {**own(stack), "issuer": CLUSTER, "jwks": str(cluster.folder / "issuer.jwks.json")}
    write(stack, own(stack), bounded | {"bounds": {"tenants": ["tenant_b"], "roles": ["analyst"]}})
    good = cluster.token("tenant_b", "analyst", "PUBLIC")

    async def is_believed() -> bool:
        try:
            await stack.search(good, "tenant_b")
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAUTHENTICATED
        return True

    await until(is_believed)
    for foreign in (cluster.token("tenant_a", "analyst"), cluster.token("tenant_b", "admin")):
        assert await code_of(stack, foreign) is grpc.StatusCode.UNAUTHENTICATED


async def test_threat_25_alice_of_two_issuers_is_two_callers(stack: Stack, cluster: Issuer) -> None:
    """In rules that name a caller, and in records."""
    await stack.load("tenant_a", document("one", "plans", "PUBLIC"))
    write(stack, own(stack), {**own(stack), "issuer": CLUSTER, "jwks": str(cluster.folder / "issuer.jwks.json")})
    (stack.policy_folder / "named.cedar").write_text(
        '@id("not-alice") forbid (\n'
        '  principal == Caller::"tenant_a/alice", action == Action::"read", resource is Document);\n'
        '@id("not-bob") forbid (\n'
        '  principal == Caller::"tenant_a/issuer:https:%2F%2Fkubernetes.default.svc.cluster.local%23bob",\n'
        '  action == Action::"read", resource is Document);\n'
    )
    await told(stack, cluster.token(), None)

    async def seen(issuer: Issuer, subject: str) -> list[str]:
        return await stack.ids(issuer.token(subject=subject), "tenant_a")

    async def is_in_force() -> bool:
        return await seen(stack.issuer, "alice") == []

    await until(is_in_force)
    assert await seen(cluster, "alice") == ["one"]
    assert await seen(stack.issuer, "bob") == ["one"]
    assert await seen(cluster, "bob") == []
    with pytest.raises(grpc.aio.AioRpcError):
        await stack.search(cluster.token("tenant_a", "analyst", subject="mallory"), "tenant_b")

    def denied() -> list[tuple[str, str]]:
        lines = map(json.loads, stack.audit_file.read_text().splitlines())
        return [(each["subject"], each["issuer"]) for each in lines if each.get("outcome") == "denied"]

    await until(denied)
    assert denied() == [(f"issuer:{CLUSTER}#mallory", CLUSTER)]
