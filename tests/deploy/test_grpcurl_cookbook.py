"""The cookbook is true: each of its blocks is run against the live services, without TLS and with it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import GATEWAY, Authority
from support.monitoring import DEPLOY
from support.runbook import Block, Runbook
from support.site import Site, running_site
from support.waiting import COMMAND_SECONDS

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.policy.v1 import policy_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2

pytestmark = [pytest.mark.grpcurl, pytest.mark.jq, pytest.mark.slow, pytest.mark.timeout(900)]

COOKBOOK = Runbook.read(DEPLOY / "grpcurl.md")
TOPICS = {
    "The gateway": gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"],
    "The policy service": policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"],
    "The retrieval service": retrieval_service_pb2.DESCRIPTOR.services_by_name["RetrievalService"],
}


@pytest.fixture(scope="module", params=["plaintext", "TLS"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp(request.param)
    authority = Authority(folder / "certificates") if request.param == "TLS" else None
    with running_site(folder / "site", authority=authority) as site:
        how = "-plaintext" if authority is None else _certificates(authority, folder)
        yield operators_environment(site) | {"HOW": how}


def _certificates(authority: Authority, folder: Path) -> str:
    pair = authority.issue(GATEWAY)
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    return f"-cacert {authority.ca_file} -cert {folder / 'tls.crt'} -key {folder / 'tls.key'}"


def operators_environment(site: Site) -> dict[str, str]:
    addresses = {name.upper(): f"localhost:{port}" for name, port in site.ports.grpc.items()}
    token = site.token("tenant_a", "admin", "SECRET", "operator")
    return (
        dict(os.environ) | addresses | {"TENANT": "tenant_a", "VECSEC_TOKEN": token, "PATH": site.environment["PATH"]}
    )


@pytest.mark.parametrize("block", COOKBOOK.of_step("reference"), ids=lambda block: block.topic)
def test_it_runs(block: Block, environment: dict[str, str]) -> None:
    command = ["bash", "-euo", "pipefail", "-c", block.commands]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("topic", TOPICS)
def test_no_call_is_missing(topic: str) -> None:
    called = {
        name
        for block in COOKBOOK.blocks
        if block.topic == topic
        for name in re.findall(r"^call (\w+) ", block.commands, flags=re.MULTILINE)
    }
    assert called == {method.name for method in TOPICS[topic].methods}
