"""Our side: the three real processes, started by `vecsec up`, with check and audit on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import yaml
from support.installation import running_installation
from support.issuer import Issuer

import vecsec_policy
from bench.corpus import Tenant
from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.type.v1 import document_pb2, query_pb2, sensitivity_pb2

BATCH = 500


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
    settings = {
        "VECSEC_ISSUERS_FILE": str(issuer.issuers_file),
        "VECSEC_POLICY_DIR": str(_policy_folder(folder / "policy", tenant_ids)),
        "CHROMA_MEMORY_LIMIT": "4G",
        "VECSEC_LOG_LEVEL": "warning",
    }
    with running_installation(folder / "installation", **settings) as installation:
        yield Secured(installation.address, issuer)


def _policy_folder(folder: Path, tenant_ids: list[str]) -> Path:
    default = Path(vecsec_policy.__file__).parent / "default_policy"
    folder.mkdir(parents=True)
    for source in filter(Path.is_file, default.iterdir()):
        (folder / source.name).write_bytes(source.read_bytes())
    tenants_file = folder / "tenants.yaml"
    tenants = yaml.safe_load(tenants_file.read_text())
    for tenant_id in tenant_ids:
        tenants["tenants"][tenant_id] = {"topics": ["bench"]}
    tenants_file.write_text(yaml.safe_dump(tenants))
    return folder
