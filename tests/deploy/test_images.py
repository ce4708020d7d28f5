"""The built images, together with a ChromaDB server, as an engine runs them: sandboxed, disturbed, and come back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.containers import Containers, running_containers, until_healthy
from support.docker_engine import base_image, docker
from support.waiting import wait_until

from vecsec.type.v1 import document_pb2

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

MOST_MEBIBYTES = {"gateway": 150, "policy": 180, "retrieval": 700, "tools": 800}
"""What an image may hold beside its base."""


@pytest.fixture(scope="module")
def containers(
    tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], engine: str | None
) -> Iterator[Containers]:
    with running_containers(tmp_path_factory.mktemp("containers"), images, engine) as running:
        running.load("plan", "the plans of the spring campaign")
        running.until_found(["plan"])
        yield running


def test_images_are_nobodys_and_say_what_is_in_them(images: dict[str, str], engine: str | None) -> None:
    base = json.loads(docker("image", "inspect", base_image(engine), host=engine))[0]
    for service, image in images.items():
        (described,) = json.loads(docker("image", "inspect", image, host=engine))
        config = described["Config"]
        assert config["User"] == "65532:65532"
        assert service == "tools" or config["Healthcheck"]["Test"][0] == "CMD", "without a shell"
        run = ("run", "--rm", "--network", "none", "--entrypoint", "python", image)
        bill = json.loads(docker(*run, "-c", f"print(open({config['Labels']['vecsec.sbom']!r}).read())", host=engine))
        held = {each["name"] for each in bill["components"]}
        assert "grpcio" in held
        assert "pip" not in held
        assert ("chromadb" in held) is (service in {"retrieval", "tools"})
        assert (described["Size"] - base["Size"]) >> 20 < MOST_MEBIBYTES[service]


def test_the_tools_have_the_command_line_and_the_workbench(images: dict[str, str], engine: str | None) -> None:
    run = ("run", "--rm", "--network", "none", "--read-only", images["tools"])
    commands = docker(*run, "--help", host=engine)
    assert all(f" {each} " in commands for each in ("tenant", "audit", "policy", "panic", "doctor", "shards"))
    assert docker(*run, "--version", host=engine).endswith("0.1.0")
    packaged = "/opt/vecsec/source/vecsec_policy/default_policy"
    assert "no errors, no warnings" in docker(*run, "policy", "check", packaged, host=engine)
    with pytest.raises(RuntimeError, match="/var/lib/vecsec/"):
        docker(*run, "tenant", "verify", host=engine)


def test_a_missing_setting_is_one_line(images: dict[str, str], engine: str | None) -> None:
    with pytest.raises(RuntimeError, match="VECSEC_ISSUERS_FILE is not set"):
        docker("run", "--rm", "--network", "none", "--read-only", images["gateway"], host=engine)


def test_the_flag_is_flipped_by_its_file(containers: Containers) -> None:
    containers.set_flag(is_on=False)
    containers.until_found("UNAVAILABLE")
    answer = containers.search(mock=True)
    assert answer.provenance == document_pb2.PROVENANCE_MOCK
    containers.set_flag(is_on=True)
    containers.until_found(["plan"])


def test_what_was_acknowledged_survives_a_killed_retrieval(containers: Containers) -> None:
    containers.load("kept", "plans that must be kept")
    containers.docker("kill", "--signal", "KILL", containers.names["retrieval"])
    containers.until_found("UNAVAILABLE")
    assert containers.search(mock=True).provenance == document_pb2.PROVENANCE_MOCK
    containers.docker("start", containers.names["retrieval"])
    until_healthy(containers, "retrieval")
    containers.until_found(["kept", "plan"])


def test_a_network_cut_between_gateway_and_retrieval_heals(containers: Containers) -> None:
    before = containers.found()
    name = containers.names["retrieval"]
    containers.docker("network", "disconnect", containers.network, name)
    containers.until_found("UNAVAILABLE")
    containers.docker("network", "connect", "--alias", "retrieval", containers.network, name)
    containers.until_found(before)


def test_a_policy_service_that_is_gone_means_no_answer_at_all(containers: Containers) -> None:
    before = containers.found()
    containers.docker("stop", "--time", "30", containers.names["policy"])
    containers.until_found("UNAVAILABLE")
    with pytest.raises(Exception, match="UNAVAILABLE"):
        containers.search(mock=True)
    containers.docker("start", containers.names["policy"])
    containers.until_found(before)


def test_a_paused_chromadb_costs_no_more_than_the_callers_patience(containers: Containers) -> None:
    before = containers.found()
    containers.docker("pause", containers.names["chromadb"])
    try:
        # What is hot in retrieval's memory is still found; a write is not acknowledged.
        with pytest.raises(Exception, match=r"DEADLINE_EXCEEDED|UNAVAILABLE"):
            _load_within(containers, 5)
    finally:
        containers.docker("unpause", containers.names["chromadb"])
    wait_until(lambda: set(before) <= set(containers.found()))


def _load_within(containers: Containers, seconds: float) -> None:
    from vecsec.gateway.v1 import gateway_service_pb2
    from vecsec.type.v1 import sensitivity_pb2

    document = document_pb2.DocumentInput(
        document_id="late", text="too late", sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL, topics=["marketing"]
    )
    request = gateway_service_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document])
    metadata = (("authorization", f"Bearer {containers.issuer.token('tenant_a', 'admin', 'SECRET')}"),)
    with containers.gateway() as stub:
        list(stub.ImportDocuments(iter([request]), metadata=metadata, timeout=seconds))


def test_a_stopped_container_ends_by_itself(containers: Containers, tmp_path: Path) -> None:
    assert tmp_path
    name = containers.names["gateway"]
    containers.docker("stop", "--time", "30", name)
    assert containers.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    containers.docker("start", name)
    until_healthy(containers, "gateway")
