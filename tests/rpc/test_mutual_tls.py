"""TLS between the services and towards callers: who gets in, and what a renewal does."""

import asyncio
import json
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.certificates import Authority
from support.issuer import Issuer
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.policy.v1 import policy_service_pb2, policy_service_pb2_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2, retrieval_service_pb2_grpc
from vecsec.type.v1 import access_pb2
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_gateway.transport import rotating_channel
from vecsec_gateway.transport.rotating_channel import RotatingChannel
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings

_SECONDS = 60


def own_channel(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel that shares no connection with another of this process."""
    address, options = f"localhost:{port}", (("grpc.use_local_subchannel_pool", 1),)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


async def list_collections(stack: Stack, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """The status of a direct call to retrieval, with a good grant."""
    grant = await stack.grant(stack.issuer.token(), "tenant_a")
    async with own_channel(stack.retrieval_service.port, credentials) as channel:
        stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
        request = retrieval_service_pb2.ListCollectionsRequest(grant=grant)
        try:
            await stub.ListCollections(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def check_health(port: int, credentials: grpc.ChannelCredentials | None, service: str = "") -> int | str:
    async with own_channel(port, credentials) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            return int((await health_pb2_grpc.HealthStub(channel).Check(request, timeout=_SECONDS)).status)
        except grpc.aio.AioRpcError as error:
            return error.code().name


async def test_only_the_gateway_gets_through_to_retrieval(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, authority=authority) as stack:
        await stack.load("tenant_a", document("plan", "the plan"))
        assert await stack.ids(stack.issuer.token(), "tenant_a") == ["plan"]
        refused = {
            "plaintext": None,
            "no certificate": authority.credentials(None),
            "another authority": Authority(tmp_path / "other").credentials(),
        }
        for who, credentials in refused.items():
            assert await list_collections(stack, credentials) is grpc.StatusCode.UNAVAILABLE, who
        policy_identity = authority.credentials("spiffe://vecsec/policy")
        assert await list_collections(stack, policy_identity) is grpc.StatusCode.PERMISSION_DENIED
        assert await list_collections(stack, authority.credentials()) is grpc.StatusCode.OK
        # A DNS name that looks like the gateway's URI is not its URI.
        assert await list_collections(stack, authority.credentials("vecsec")) is grpc.StatusCode.PERMISSION_DENIED
        denied = 'vecsec_peer_denied_total{method="ListCollections"}'
        assert stack.metrics(stack.retrieval_service)[denied] == 2


async def test_health_is_for_every_peer_of_the_authority_and_reflection_for_the_allowed_ones(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, authority=authority) as stack:
        port = stack.policy_service.port
        stranger = authority.credentials("spiffe://vecsec/prober")
        assert await check_health(port, stranger) == health_pb2.HealthCheckResponse.SERVING
        for credentials, is_allowed in ((stranger, False), (authority.credentials(), True)):
            async with own_channel(port, credentials) as channel:
                stub = reflection_pb2_grpc.ServerReflectionStub(channel)
                call = stub.ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=_SECONDS
                )
                if is_allowed:
                    assert "vecsec.policy.v1.PolicyService" in str(await call.read())
                else:
                    # grpc.aio may lose the status of a refusal while the client still writes; the server's count stays.
                    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                        await call.read()
        denied = 'vecsec_peer_denied_total{method="reflection"}'
        await until(lambda: stack.metrics(stack.policy_service).get(denied))
        assert stack.metrics(stack.policy_service)[denied] == 1
        # Watch is the one that writes its answers itself.
        async with own_channel(port, stranger) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_peer_may_be_allowed_single_methods(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    allowed = "spiffe://vecsec/gateway auditor.example=CountViolations"
    async with running_stack(tmp_path, authority=authority, VECSEC_POLICY_ALLOWED_PEERS=allowed) as stack:
        metadata = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
        async with own_channel(stack.policy_service.port, authority.credentials("auditor.example")) as channel:
            stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
            count = policy_service_pb2.CountViolationsRequest(tenant_id="tenant_a")
            await stub.CountViolations(count, metadata=metadata, timeout=_SECONDS)
            plan = policy_service_pb2.PlanAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ)
            denied = await refusal(stub.PlanAccess(plan, metadata=metadata, timeout=_SECONDS))
            assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
            # Who may not call is told so before his token is looked at, and always in the same words.
            again = await refusal(stub.PlanAccess(plan, timeout=_SECONDS))
            assert (again.code, again.message, again.details) == (denied.code, denied.message, denied.details)
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
            assert (await refusal(health)).message == denied.message


async def test_the_gateway_asks_callers_for_a_certificate_only_if_it_knows_their_authority(tmp_path: Path) -> None:
    authority, callers = Authority(tmp_path / "tls"), Authority(tmp_path / "callers")
    callers.settings("unused")
    async with running_stack(tmp_path, authority=authority) as stack:
        port = stack.gateway_service.port
        assert await check_health(port, authority.credentials(None)) == health_pb2.HealthCheckResponse.SERVING
        assert await check_health(port, None) == "UNAVAILABLE"
    settings = {
        "VECSEC_GATEWAY_CLIENT_CA_FILE": callers.ca_file,
        "VECSEC_GATEWAY_ALLOWED_PEERS": "assistant.example",
    }
    async with running_stack(tmp_path / "second", authority=authority, **settings) as stack:
        port, pair = stack.gateway_service.port, callers.issue("assistant.example")
        roots = authority.ca.cert_pem.bytes()
        assert await check_health(port, authority.credentials(None)) == "UNAVAILABLE"
        shown = grpc.ssl_channel_credentials(roots, pair.key, pair.certificate)
        assert await check_health(port, shown) == health_pb2.HealthCheckResponse.SERVING
        pair = callers.issue("stranger.example")
        shown = grpc.ssl_channel_credentials(roots, pair.key, pair.certificate)
        assert await check_health(port, shown) == "PERMISSION_DENIED"


async def test_renewed_certificates_are_taken_under_load_without_a_failed_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[None] = []
    replace = RotatingChannel._replace

    async def counted(self: RotatingChannel, certificates: object) -> None:
        await replace(self, certificates)  # type: ignore[arg-type]
        replaced.append(None)

    monkeypatch.setattr(RotatingChannel, "_replace", counted)
    monkeypatch.setattr(rotating_channel, "_DRAIN_SECONDS", 5)
    authority = Authority(tmp_path / "tls")
    async with running_stack(
        tmp_path, authority=authority, VECSEC_PEER_ATTEMPTS=1, VECSEC_PLAN_MEMORY_SECONDS=0
    ) as stack:
        await stack.load("tenant_a", document("plan", "the plan"))
        token, done = stack.issuer.token(), asyncio.Event()
        answers: list[list[str]] = []

        async def search_on() -> None:
            while not done.is_set():
                answers.append(await stack.ids(token, "tenant_a"))

        searchers = [asyncio.create_task(search_on()) for _ in range(3)]
        for service in ("policy", "retrieval", "gateway"):
            authority.renew(service, days=30)
        expiry = 'vecsec_certificate_expiry_seconds{certificate="service"}'
        services = (stack.policy_service, stack.retrieval_service, stack.gateway_service)

        def all_taken() -> bool:
            horizon = time.time() + 31 * 86400
            return len(replaced) == 2 and all(stack.metrics(service)[expiry] < horizon for service in services)

        await until(lambda: asyncio.to_thread(all_taken))
        enough = len(answers) + 20
        await until(lambda: len(answers) >= enough)
        done.set()
        await asyncio.gather(*searchers)
        assert all(answer == ["plan"] for answer in answers)


async def test_a_renewal_that_went_wrong_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, authority=authority) as stack:
        key = tmp_path / "tls" / "policy" / "tls.key"
        whole = key.read_bytes()
        key.write_bytes(whole[: len(whole) // 2])
        failures = "vecsec_certificate_reload_failures_total"
        await until(lambda: stack.metrics(stack.policy_service)[failures])
        assert await check_health(stack.policy_service.port, authority.credentials()) == 1


async def test_probes_without_tls_learn_the_health_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, authority=authority, VECSEC_POLICY_HEALTH_PORT=0) as stack:
        port = stack.policy_service.health_port
        assert port is not None
        assert await check_health(port, None) == health_pb2.HealthCheckResponse.SERVING
        assert await check_health(port, None, "vecsec.live") == health_pb2.HealthCheckResponse.SERVING
        async with own_channel(port, None) as channel:
            stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
            call = stub.PlanAccess(policy_service_pb2.PlanAccessRequest(), timeout=_SECONDS)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("key missing", "VECSEC_TLS_KEY_FILE"),
        ("key half-written", "half of one"),
        ("key of another", "not the key of the certificate"),
        ("certificate half-written", "VECSEC_TLS_CERTIFICATE_FILE"),
        ("certificate expired", "renew it"),
        ("authority empty", "VECSEC_TLS_CA_FILE"),
        ("misspelt method", "VECSEC_POLICY_ALLOWED_PEERS allows PlanAcess"),
    ],
)
async def test_bad_certificates_end_the_start_in_one_line(tmp_path: Path, broken: str, expected: str) -> None:
    authority = Authority(tmp_path / "tls")
    issuer = Issuer(tmp_path / "keys")
    settings = authority.settings("policy") | {
        "VECSEC_POLICY_PORT": 0,
        "VECSEC_POLICY_METRICS_PORT": 0,
        "VECSEC_GRANT_KEY_FILE": issuer.grant_key_file,
        "VECSEC_ISSUERS_FILE": issuer.issuers_file,
        "VECSEC_AUDIT_FILE": tmp_path / "audit.jsonl",
    }
    key, certificate = tmp_path / "tls/policy/tls.key", tmp_path / "tls/policy/tls.crt"
    match broken:
        case "key missing":
            key.unlink()
        case "key half-written":
            key.write_bytes(key.read_bytes()[:80])
        case "key of another":
            key.write_bytes(authority.issue("other").key)
        case "certificate half-written":
            certificate.write_bytes(certificate.read_bytes()[:80])
        case "certificate expired":
            authority.renew("policy", days=-1)
        case "authority empty":
            authority.ca_file.write_bytes(b"")
        case _:
            settings["VECSEC_POLICY_ALLOWED_PEERS"] = "spiffe://vecsec/gateway=PlanAcess"
    with pytest.raises(ConfigurationError, match=expected) as refused:
        async with running_policy(PolicySettings.model_validate(settings)):
            pass
    assert "\n" not in str(refused.value)


async def test_the_audit_log_knows_by_which_machines_a_caller_came(tmp_path: Path) -> None:
    """What the caller's machine has proven to the gateway, and that to the policy service; nobody else's word."""
    authority, callers = Authority(tmp_path / "tls"), Authority(tmp_path / "callers")
    callers.settings("unused")
    settings = {"VECSEC_GATEWAY_CLIENT_CA_FILE": callers.ca_file, "VECSEC_GATEWAY_ALLOWED_PEERS": "assistant.example"}
    async with running_stack(tmp_path, authority=authority, **settings) as stack:
        pair = callers.issue("assistant.example")
        credentials = grpc.ssl_channel_credentials(authority.ca.cert_pem.bytes(), pair.key, pair.certificate)
        actor = {"sub": "assistant", "act": {"iss": "https://other.test", "sub": "tool"}}
        token = stack.issuer.token(act=actor)
        async with own_channel(stack.gateway_service.port, credentials) as channel:
            stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
            request = gateway_service_pb2.ListCollectionsRequest(tenant_id="tenant_a")
            forged = (*bearer(token), ("x-vecsec-peers", "spiffe://vecsec/somebody"))
            await stub.ListCollections(request, metadata=forged, timeout=_SECONDS)

        def recorded() -> list[dict[str, object]]:
            lines = stack.audit_file.read_text().splitlines()
            return [each for each in map(json.loads, lines) if each.get("subject") == "alice"]

        await until(recorded)
        decided = recorded()[0]
        assert decided["actors"] == ["assistant", "https://other.test#tool"]
        assert decided["peers"] == ["assistant.example", "spiffe://vecsec/gateway"]
