"""Issuers that come, go, hang and rotate, in front of real services in their production wiring."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.issuer import AUDIENCE, Issuer, jwks
from support.issuers_file import code_of, own, told, write
from support.key_server import KeyServer, running_key_server
from support.monitoring import DEPLOY
from support.refusals import refusal
from support.stack import Stack, document, running_stack
from support.waiting import until

from vecsec_chassis.auth.watched_issuers import ISSUERS
from vecsec_cli.checks.services import check_health

CLUSTER = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        await running.load("tenant_a", document("one", "plans", "PUBLIC"))
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "cluster", name=CLUSTER)


@pytest.fixture
def server(cluster: Issuer) -> Iterator[KeyServer]:
    with running_key_server(jwks(cluster.key)) as running:
        yield running


async def is_well(port: int) -> bool:
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=ISSUERS))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def shown(stack: Stack, metric: str) -> list[float]:
    """What the gateway's metric says of the cluster's issuer."""
    metrics = stack.metrics(stack.gateway_service)
    return [value for name, value in metrics.items() if name.startswith(f"{metric}{{") and CLUSTER in name]


async def test_the_issuers_file_is_live(stack: Stack, cluster: Issuer) -> None:
    ours, theirs = stack.issuer.token(), cluster.token()
    assert await code_of(stack, ours) is None
    assert await code_of(stack, theirs) is grpc.StatusCode.UNAUTHENTICATED
    write(stack, {**own(stack), "issuer": CLUSTER, "jwks": str(cluster.folder / "issuer.jwks.json")})
    await told(stack, theirs, None)
    await told(stack, ours, grpc.StatusCode.UNAUTHENTICATED)
    write(stack, own(stack, algorithms=[]))
    ports = stack.gateway_service.port, stack.policy_service.port

    async def both_tell() -> bool:
        return not any([await is_well(port) for port in ports])

    await until(both_tell)
    doctor = await asyncio.to_thread(check_health, "gateway", f"localhost:{ports[0]}", None)
    assert "its changed issuers file is not in force" in doctor.detail
    for service in (stack.gateway_service, stack.policy_service):
        metrics = stack.metrics(service)
        assert metrics["vecsec_issuers_file_refused"] == 1
        assert metrics["vecsec_issuers_file_errors_total"] == 1
    assert await code_of(stack, theirs) is None, "the last good one stays"


async def test_an_outage_of_keys_is_told_as_one(stack: Stack, cluster: Issuer, server: KeyServer) -> None:
    token = cluster.token()
    server.behaviour = "fail"
    write(stack, own(stack), {**own(stack), "issuer": CLUSTER, "jwks": f"{server.url}/keys"})
    await told(stack, token, grpc.StatusCode.UNAVAILABLE)
    outage = await refusal(stack.search(token, "tenant_a", "plans"))
    assert outage.reason == "KEYS_UNAVAILABLE"
    assert "fresh" not in outage.message
    assert await code_of(stack, stack.issuer.token()) is None, "others are unmoved"
    assert shown(stack, "vecsec_issuer_keys") == [0]
    assert shown(stack, "vecsec_issuer_keys_age_seconds") == []
    server.behaviour = "answer"
    await told(stack, token, None)
    (age,) = shown(stack, "vecsec_issuer_keys_age_seconds")
    assert 0 <= age < 60
    server.behaviour = "hang"
    assert await code_of(stack, cluster.token(subject="another")) is None, "the last good keys stay"


async def test_callers_are_served_while_made_up_key_ids_wait_for_a_host_that_hangs(
    stack: Stack, cluster: Issuer, server: KeyServer
) -> None:
    """FINDINGS O9: the pool that everything in `to_thread` shares was held for seconds."""
    write(stack, own(stack), {**own(stack), "issuer": CLUSTER, "jwks": f"{server.url}/keys"})
    await told(stack, cluster.token(), None)
    server.behaviour = "hang"
    made_up = [
        asyncio.create_task(code_of(stack, cluster.token(headers={"kid": f"made up {number}"}))) for number in range(64)
    ]
    try:
        async with asyncio.timeout(10):
            for _ in range(10):
                assert await code_of(stack, stack.issuer.token()) is None
                assert await code_of(stack, cluster.token()) is None
    finally:
        server.going_on.set()
        codes = set(await asyncio.gather(*made_up))
    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}


EXAMPLE = DEPLOY / "kubernetes" / "components" / "service-accounts" / "issuers.json"


def projected(cluster: Issuer, namespace: str, account: str, **changes: Any) -> str:
    """A token as the kubelet projects it into a pod."""
    subject = f"system:serviceaccount:{namespace}:{account}"
    bound = {
        "namespace": namespace,
        "node": {"name": "node-1", "uid": "9f0cd1c1-6a4a-4a3e-9f6e-2f3b6f0c0f11"},
        "pod": {"name": f"{account}-6d4cf56db6-x8k2p", "uid": "4c4a9a0e-5d0f-4f8b-8f6e-0a9b7f4a1c22"},
        "serviceaccount": {"name": account, "uid": "f9a1a0e2-7a43-4a50-9a0e-1f0b2f6c7d33"},
        "warnafter": 1_893_456_000,
    }
    claims = {"aud": [AUDIENCE], "jti": "5d0f4f8b", "kubernetes.io": bound, "role": None, "clearance": None} | changes
    return cluster.token(subject=subject, **{"tenant_id": None, **claims})


async def test_service_accounts_of_kubernetes_call(stack: Stack, cluster: Issuer, tmp_path: Path) -> None:
    """Their keys are behind TLS of the cluster's own authority, and are for those alone who show a token."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    (tmp_path / "token").write_text("of the pod")
    with running_key_server(jwks(cluster.key), context=context) as api:
        api.token = "of the pod"
        (example,) = json.loads(EXAMPLE.read_text())["issuers"]
        here = {
            "algorithms": ["EdDSA"],
            "jwks": f"{api.url}/openid/v1/jwks",
            "ca_file": str(tmp_path / "ca.crt"),
            "token_file": str(tmp_path / "token"),
        }
        write(stack, own(stack), example | here)
        await told(stack, projected(cluster, "shop", "web"), None)
        await stack.load("tenant_a", document("two", "stock", "PUBLIC"), token=projected(cluster, "shop", "indexer"))
        assert sorted(await stack.ids(projected(cluster, "shop", "web"), "tenant_a")) == ["one", "two"]
        for bad in (
            projected(cluster, "elsewhere", "web"),
            projected(cluster, "shop", "web", aud=["https://kubernetes.default.svc"]),
            projected(cluster, "shop", "web", **{"kubernetes.io": None}),
        ):
            assert await code_of(stack, bad) is grpc.StatusCode.UNAUTHENTICATED
        assert set(api.paths) == {"/openid/v1/jwks"}
