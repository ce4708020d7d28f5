"""Debugging with grpcurl: reflection on all three services, useful errors, health."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from support.installation import Installation, running_installation
from support.parts import find_program
from support.waiting import COMMAND_SECONDS

pytestmark = [pytest.mark.grpcurl, pytest.mark.timeout(900)]

GRPCURL_STATUS_BASE = 64
UNAUTHENTICATED, INVALID_ARGUMENT, PERMISSION_DENIED = 16, 3, 7


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("grpcurl")) as running:
        row = {"id": "a", "text": "vector search ranks passages", "sensitivity": "INTERNAL", "topics": ["retrieval"]}
        running.import_rows("tenant_a", [row])
        yield running


def grpcurl(
    port: int, *arguments: str, token: str | None = None, data: object = None
) -> subprocess.CompletedProcess[str]:
    program = find_program("grpcurl")
    assert program is not None
    command = [program, "-plaintext"]
    if token is not None:
        command += ["-H", f"authorization: Bearer {token}"]
    if data is not None:
        command += ["-d", json.dumps(data)]
    return subprocess.run(
        [*command, f"localhost:{port}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


def test_every_service_reflects_itself_and_its_health(installation: Installation) -> None:
    for port, service, request in (
        (installation.gateway_port, "vecsec.gateway.v1.GatewayService", "SearchDocumentsRequest"),
        (installation.retrieval_port, "vecsec.retrieval.v1.RetrievalService", "SearchDocumentsRequest"),
        (installation.policy_port, "vecsec.policy.v1.PolicyService", "PlanAccessRequest"),
    ):
        listed = grpcurl(port, "list").stdout.split()
        assert {service, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(listed)
        described = grpcurl(port, "describe", service)
        assert described.returncode == 0, described.stderr
        fields = grpcurl(port, "describe", f"{service.rpartition('.')[0]}.{request}").stdout
        assert "(.buf.validate.field)" in fields, "the rules are told, too"
        healthy = grpcurl(port, "grpc.health.v1.Health/Check")
        assert json.loads(healthy.stdout) == {"status": "SERVING"}


def test_a_search_with_grpcurl(installation: Installation) -> None:
    answer = grpcurl(
        installation.gateway_port,
        "vecsec.gateway.v1.GatewayService/SearchDocuments",
        token=installation.token("tenant_a"),
        data={"tenant_id": "tenant_a", "query": {"text": "passages"}, "k": 3},
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["provenance"] == "PROVENANCE_REAL"
    assert [result["document"]["document_id"] for result in found["results"]] == ["a"]


def test_plan_then_search_by_hand(installation: Installation) -> None:
    """What the gateway does, step by step: a grant from policy, then rows from retrieval."""
    planned = grpcurl(
        installation.policy_port,
        "vecsec.policy.v1.PolicyService/PlanAccess",
        token=installation.token("tenant_a"),
        data={"tenant_id": "tenant_a", "action": "ACTION_READ"},
    )
    assert planned.returncode == 0, planned.stderr
    answer = grpcurl(
        installation.retrieval_port,
        "vecsec.retrieval.v1.RetrievalService/SearchDocuments",
        data={"grant": json.loads(planned.stdout)["grant"], "query": {"text": "passages"}, "k": 3},
    )
    assert answer.returncode == 0, answer.stderr
    assert [result["document"]["document_id"] for result in json.loads(answer.stdout)["results"]] == ["a"]


def test_errors_are_useful_in_grpcurl(installation: Installation) -> None:
    method = "vecsec.gateway.v1.GatewayService/SearchDocuments"
    good = {"tenant_id": "tenant_a", "query": {"text": "passages"}, "k": 3}
    anonymous = grpcurl(installation.gateway_port, method, data=good)
    assert anonymous.returncode == GRPCURL_STATUS_BASE + UNAUTHENTICATED
    assert "authorization: Bearer" in anonymous.stderr
    token = installation.token("tenant_a")
    invalid = grpcurl(installation.gateway_port, method, token=token, data=good | {"k": 0})
    assert invalid.returncode == GRPCURL_STATUS_BASE + INVALID_ARGUMENT
    assert "k: " in invalid.stderr
    assert "INVALID_FIELD" in invalid.stderr
    foreign = grpcurl(installation.gateway_port, method, token=token, data=good | {"tenant_id": "tenant_b"})
    assert foreign.returncode == GRPCURL_STATUS_BASE + PERMISSION_DENIED
    assert "ACCESS_DENIED" in foreign.stderr
