"""Our side: the three real processes, started by `vecsec up`, with check and audit on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import yaml
from google.protobuf.json_format import ParseDict
from support.issuer import Issuer
from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.type.v1 import document_pb2, query_pb2, sensitivity_pb2

from bench.corpus import Tenant

BATCH = 500
START_SECONDS = 60


class Secured:
    """A client of a running installation."""

    def __init__(self, address: str, issuer: Issuer) -> None:
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(grpc.insecure_channel(address))
        self._issuer = issuer
        self._readers: dict[str, str] = {}

    def add(self, tenant: Tenant) -> None:
        """Import a tenant's passages through the gateway."""
        token = self._issuer.token(tenant.tenant_id, "admin", "SECRET", "loader", exp=int(time.time()) + 7200)
        self._readers[tenant.tenant_id] = self._issuer.token(
            tenant.tenant_id, "analyst", "INTERNAL", "reader", exp=int(time.time()) + 7200
        )
        for _ in self._stub.ImportDocuments(self._batches(tenant), metadata=(("authorization", f"Bearer {token}"),)):
            pass

    def search(self, tenant_id: str, text: str, k: int) -> list[str]:
        """The ids of the nearest passages that an analyst may read."""
        request = gateway_service_pb2.SearchDocumentsRequest(
            tenant_id=tenant_id,
            query=query_pb2.Query(text=text),
            k=k,
            fallback=gateway_service_pb2.FALLBACK_NONE,
        )
        answer = self._stub.SearchDocuments(
            request, metadata=(("authorization", f"Bearer {self._readers[tenant_id]}"),), timeout=30
        )
        return [result.document.document_id for result in answer.results]

    @staticmethod
    def _batches(tenant: Tenant) -> Iterator[gateway_service_pb2.ImportDocumentsRequest]:
        for start in range(0, len(tenant.texts), BATCH):
            rows = range(start, min(start + BATCH, len(tenant.texts)))
            yield gateway_service_pb2.ImportDocumentsRequest(
                tenant_id=tenant.tenant_id,
                embedding_model="wordllama",
                documents=[
                    document_pb2.DocumentInput(
                        document_id=tenant.document_id(row),
                        text=tenant.texts[row],
                        sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL
                        if tenant.is_internal(row)
                        else sensitivity_pb2.SENSITIVITY_SECRET,
                        topics=["bench"],
                        embedding=tenant.embeddings[row].tolist(),
                    )
                    for row in rows
                ],
            )


@contextmanager
def running(folder: Path, tenant_ids: list[str]) -> Iterator[Secured]:
    """Start `vecsec up` with a policy that knows these tenants, and stop it at the end."""
    issuer = Issuer(folder / "issuer")
    ports = free_ports(6)
    environment = os.environ | {
        "VECSEC_ISSUERS_FILE": str(issuer.issuers_file),
        "VECSEC_POLICY_DIR": str(_policy_folder(folder / "policy", tenant_ids)),
        "CHROMA_MEMORY_LIMIT": "4G",
        "VECSEC_LOG_LEVEL": "warning",
    }
    command = [
        str(Path(sys.executable).with_name("vecsec")),
        *("up", "--no-demo", "--state-dir", str(folder / "state")),
        *("--gateway-port", str(ports[0]), "--retrieval-port", str(ports[1]), "--policy-port", str(ports[2])),
        *("--metrics-port", str(ports[3])),
    ]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        address = f"localhost:{ports[0]}"
        _wait_until_serving(process, address, folder / "up.log")
        yield Secured(address, issuer)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on now; the last three are for metrics, which follow one another."""
    for first in range(21_000, 29_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
    raise RuntimeError(f"no {count} free ports in a row between 21000 and 29000")


def _policy_folder(folder: Path, tenant_ids: list[str]) -> Path:
    import vecsec_policy

    default = Path(vecsec_policy.__file__).parent / "default_policy"
    folder.mkdir(parents=True)
    for source in default.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    tenants_file = folder / "tenants.yaml"
    tenants = yaml.safe_load(tenants_file.read_text())
    for tenant_id in tenant_ids:
        tenants["tenants"][tenant_id] = {"topics": ["bench"]}
    tenants_file.write_text(yaml.safe_dump(tenants))
    return folder


def _wait_until_serving(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"vecsec up ended with {process.returncode}:\n{log.read_text()}")
        try:
            answer = stub.Check(ParseDict({"service": "vecsec.gateway.retrieval"}, health_pb2.HealthCheckRequest()), timeout=1)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
        except grpc.RpcError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"vecsec up did not serve within {START_SECONDS} s:\n{log.read_text()}")
