"""Our side: the three real processes, started by `vecsec up`, with check and audit on."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import yaml
from support.installation import Installation, running_installation
from support.issuer import Issuer

import vecsec_policy
from bench.corpus import Tenant
from bench.wire_calls import GrpcCall
from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.type.v1 import document_pb2, query_pb2, sensitivity_pb2
from vecsec_client.channels import Endpoint

BATCH = 500
SEARCH = "/vecsec.gateway.v1.GatewayService/SearchDocuments"
_TOKEN_SECONDS = 4 * 3600


class Secured:
    """A client of a running installation."""

    def __init__(self, installation: Installation, issuer: Issuer) -> None:
        self.installation = installation
        # As our SDK connects.
        channel = grpc.insecure_channel(installation.address, options=Endpoint(installation.address).options())
        self.stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
        self._issuer = issuer
        self._readers: dict[str, str] = {}

    def add(self, tenant: Tenant) -> None:
        """Import a tenant's passages through the gateway."""
        for _ in self.import_requests(tenant.tenant_id, _batches(tenant)):
            pass

    def import_requests(
        self, tenant_id: str, requests: Iterator[gateway_service_pb2.ImportDocumentsRequest]
    ) -> Iterator[int]:
        """Import what the requests hold; yields how many documents each stored once it is durable."""
        metadata = (("authorization", f"Bearer {self.token(tenant_id, 'admin', 'SECRET')}"),)
        for answer in self.stub.ImportDocuments(requests, metadata=metadata):
            yield answer.stored_count

    def search(self, tenant_id: str, text: str, k: int) -> list[str]:
        """The ids of the nearest passages that an analyst may read."""
        return self.search_as(self.reader(tenant_id), tenant_id, text, k)

    def search_as(self, token: str, tenant_id: str, text: str, k: int) -> list[str]:
        """The ids of the nearest passages that the caller with this token may read."""
        answer = self.stub.SearchDocuments(
            _search_request(tenant_id, text, k), metadata=(("authorization", f"Bearer {token}"),), timeout=30
        )
        return [result.document.document_id for result in answer.results]

    def searcher(self) -> Callable[..., gateway_service_pb2.SearchDocumentsResponse]:
        """The stub's method, for searches of one's own."""
        return self.stub.SearchDocuments

    def call(self, tenant_id: str, text: str, k: int) -> GrpcCall:
        """An analyst's search as bytes, for load generators."""
        request = _search_request(tenant_id, text, k).SerializeToString()
        metadata = {"authorization": f"Bearer {self.reader(tenant_id)}"}
        return GrpcCall(self.installation.address, SEARCH, metadata, request)

    def reader(self, tenant_id: str) -> str:
        """The token of the tenant's analyst, who sees every second passage; the same one in each search."""
        if tenant_id not in self._readers:
            self._readers[tenant_id] = self.token(tenant_id, "analyst", "INTERNAL")
        return self._readers[tenant_id]

    def token(self, tenant_id: str, role: str, clearance: str) -> str:
        """A token of a caller of the tenant."""
        return self.token_of(tenant_id, role, clearance, f"a-{role}")

    def token_of(self, tenant_id: str, role: str, clearance: str, subject: str) -> str:
        """A token of a caller of this name."""
        expires_at = int(time.time()) + _TOKEN_SECONDS
        return self._issuer.token(tenant_id, role, clearance, subject, exp=expires_at)


@contextmanager
def running(folder: Path, tenant_ids: list[str], **settings: str) -> Iterator[Secured]:
    """Start `vecsec up` with a policy that knows these tenants, and stop it at the end.

    What an earlier installation in this folder stored is there again; further settings override the usual ones.
    """
    issuer = Issuer(folder / "issuer")
    usual = {
        "VECSEC_ISSUERS_FILE": str(issuer.issuers_file),
        "VECSEC_POLICY_DIR": str(policy_folder(folder / "policy", {each: ["bench"] for each in tenant_ids})),
        "CHROMA_MEMORY_LIMIT": "4G",
        "VECSEC_LOG_LEVEL": "warning",
    }
    with running_installation(folder / "installation", **usual | settings) as installation:
        yield Secured(installation, issuer)


def policy_folder(folder: Path, topics_of: Mapping[str, list[str]]) -> Path:
    """The packaged policy with these tenants and the topics in their scope."""
    default = Path(vecsec_policy.__file__).parent / "default_policy"
    folder.mkdir(parents=True, exist_ok=True)
    for source in filter(Path.is_file, default.iterdir()):
        (folder / source.name).write_bytes(source.read_bytes())
    tenants_file = folder / "tenants.yaml"
    tenants = yaml.safe_load(tenants_file.read_text())
    for tenant_id, topics in topics_of.items():
        tenants["tenants"][tenant_id] = {"topics": topics}
    tenants_file.write_text(yaml.safe_dump(tenants))
    return folder


def _search_request(tenant_id: str, text: str, k: int) -> gateway_service_pb2.SearchDocumentsRequest:
    """By vectors alone, as bare ChromaDB searches."""
    return gateway_service_pb2.SearchDocumentsRequest(
        tenant_id=tenant_id,
        query=query_pb2.Query(text=text),
        k=k,
        mode=query_pb2.SEARCH_MODE_VECTOR,
        fallback=gateway_service_pb2.FALLBACK_NONE,
    )


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
                    sensitivity=sensitivity_pb2.Sensitivity.ValueType(tenant.level(row)),
                    topics=["bench"],
                    embedding=tenant.embeddings[row].tolist(),
                )
                for row in rows
            ],
        )
