"""The built images as containers: gateway, policy, retrieval and a ChromaDB server in a network of their own."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

import vecsec_policy
from support.docker_engine import docker
from support.issuer import Issuer
from support.waiting import wait_until
from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.type.v1 import document_pb2, query_pb2, sensitivity_pb2

SERVICES_USER = 65532
_HEALTHY_SECONDS = 300
_SANDBOX = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
"""What the images must be content with."""


@dataclass(frozen=True)
class Containers:
    """A running installation of containers, by the services' names in their network."""

    folder: Path
    issuer: Issuer
    network: str
    names: dict[str, str]
    """The containers' own names."""
    host: str | None
    """The engine's address."""

    def docker(self, *arguments: str) -> str:
        return docker(*arguments, host=self.host)

    def address_of(self, service: str) -> str:
        template = f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'
        return self.docker("inspect", "--format", template, self.names[service])

    @contextlib.contextmanager
    def gateway(self) -> Iterator["gateway_service_pb2_grpc.GatewayServiceStub"]:
        with grpc.insecure_channel(f"{self.address_of('gateway')}:50051") as channel:
            yield gateway_service_pb2_grpc.GatewayServiceStub(channel)

    def load(self, document_id: str, text: str) -> None:
        """Import a document as tenant_a's administrator; returns once it is acknowledged."""
        document = document_pb2.DocumentInput(
            document_id=document_id,
            text=text,
            sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL,
            topics=["marketing"],
        )
        request = gateway_service_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document])
        token = self.issuer.token("tenant_a", "admin", "SECRET", "loader")
        with self.gateway() as stub:
            answers = list(stub.ImportDocuments(iter([request]), metadata=_bearer(token), timeout=60))
        assert sum(each.stored_count for each in answers) == 1

    def search(self, *, mock: bool = False, timeout: float = 20) -> gateway_service_pb2.SearchDocumentsResponse:
        """Search tenant_a as its analyst."""
        fallback = gateway_service_pb2.FALLBACK_MOCK if mock else gateway_service_pb2.FALLBACK_NONE
        request = gateway_service_pb2.SearchDocumentsRequest(
            tenant_id="tenant_a", query=query_pb2.Query(text="plans"), k=10, fallback=fallback
        )
        with self.gateway() as stub:
            return stub.SearchDocuments(request, metadata=_bearer(self.issuer.token()), timeout=timeout)

    def found(self) -> list[str] | str:
        """The ids that a search finds, in order, or the status that it ends with."""
        try:
            return sorted(each.document.document_id for each in self.search().results)
        except grpc.RpcError as error:
            return str(error.code().name)

    def until_found(self, expected: list[str] | str) -> None:
        """Wait until a search ends so."""
        wait_until(lambda: self.found() == expected, lambda: f"searches end with {self.found()}, not {expected}")

    def set_flag(self, is_on: bool) -> None:
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on" if is_on else "off"}
        (self.folder / "flags" / "flags.json").write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))


def _bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


@contextlib.contextmanager
def running_containers(folder: Path, images: dict[str, str], host: str | None) -> Iterator[Containers]:
    """Start them, wait until the images' own health checks are content, and remove them at the end."""
    # testcontainers reads these when it is imported.
    os.environ |= {"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_CONNECTION_MODE": "docker_host"}
    if host is not None:
        os.environ["DOCKER_HOST"] = host
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

    issuer = _files(folder)

    def container(name: str, image: str, mounts: dict[str, str], **environment: str) -> Any:
        made = DockerContainer(image).with_network(network).with_network_aliases(name).with_kwargs(**_SANDBOX)
        made = made.with_tmpfs_mount("/tmp", "size=64m")
        for part, target in mounts.items():
            made = made.with_volume_mapping(str(folder / part), target, "rw" if part in {"chroma", "audit"} else "ro")
        for key, value in environment.items():
            made = made.with_env(key, value)
        return made

    with Network() as network, contextlib.ExitStack() as stack:
        flags = {"VECSEC_FLAG_FILE": "/etc/vecsec/flags/flags.json"}
        issuers = {"VECSEC_ISSUERS_FILE": "/etc/vecsec/keys/issuers.json"}
        chroma = container("chromadb", images["retrieval"], {"chroma": "/data"}).with_kwargs(
            **_SANDBOX,
            entrypoint=["chroma", "run", "--host", "0.0.0.0", "--port", "8000", "--path", "/data"],
            healthcheck={"test": ["NONE"]},
        )
        made = {
            "chromadb": chroma,
            "policy": container(
                "policy",
                images["policy"],
                {"keys": "/etc/vecsec/keys", "policy": "/etc/vecsec/policy", "audit": "/var/lib/vecsec"},
                VECSEC_POLICY_DIR="/etc/vecsec/policy",
                VECSEC_GRANT_KEY_FILE="/etc/vecsec/keys/grant.pem",
                VECSEC_AUDIT_FILE="/var/lib/vecsec/audit.jsonl",
                **issuers,
            ),
            "retrieval": container(
                "retrieval",
                images["retrieval"],
                {"keys": "/etc/vecsec/keys", "flags": "/etc/vecsec/flags"},
                VECSEC_GRANT_JWKS="/etc/vecsec/keys/grant.jwks.json",
                CHROMA_CONNECTION_STRING="http://chromadb:8000",
                **flags,
            ),
            "gateway": container(
                "gateway",
                images["gateway"],
                {"keys": "/etc/vecsec/keys", "flags": "/etc/vecsec/flags"},
                VECSEC_POLICY_ADDRESS="dns:///policy:50053",
                VECSEC_RETRIEVAL_ADDRESS="dns:///retrieval:50052",
                VECSEC_CIRCUIT_OPEN_SECONDS="1",
                **issuers,
                **flags,
            ),
        }
        names = {}
        for name, each in made.items():
            stack.enter_context(each)
            names[name] = each.get_wrapped_container().name
        containers = Containers(folder, issuer, network.name, names, host)
        for name in ("policy", "retrieval", "gateway"):
            until_healthy(containers, name)
        yield containers


def until_healthy(containers: Containers, service: str) -> None:
    """Wait until the health check of the image passes."""
    name = containers.names[service]
    wait_until(
        lambda: containers.docker("inspect", "--format", "{{.State.Health.Status}}", name) == "healthy",
        lambda: f"{service} is not healthy: {containers.docker('logs', '--tail', '20', name)}",
        seconds=_HEALTHY_SECONDS,
    )


def _files(folder: Path) -> Issuer:
    """Keys, rules, flags and volumes, which the services' user may read or write."""
    issuer = Issuer(folder / "keys")
    shutil.copytree(Path(vecsec_policy.__file__).parent / "default_policy", folder / "policy")
    for name in ("flags", "chroma", "audit"):
        (folder / name).mkdir()
    (folder / "flags" / "flags.json").write_text('{"flags": {}}')
    for path in (folder, *folder.rglob("*")):
        os.chown(path, SERVICES_USER, SERVICES_USER)
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and str(path) not in {"/", "/tmp"}:
            path.chmod(path.stat().st_mode | 0o011)
    return issuer
