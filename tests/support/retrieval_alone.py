"""The retrieval service by itself, in its production wiring, with grants signed by a key of the test."""

import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unit.retrieval.worlds import permit

from support.new_store import ANY_TIME
from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec.type.v1 import document_pb2, query_pb2, value_pb2
from vecsec_chassis.auth.grants import GrantSigner, thumbprint
from vecsec_chassis.domain.access import Action, Grant
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

PUBLIC, INTERNAL, SECRET = 1, 2, 4
SECONDS = 60


@dataclass
class Signer:
    """Plays the policy service."""

    folder: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        public = jwt.algorithms.OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwks = self.folder / "grant.jwks.json"
        self.jwks.write_text(json.dumps({"keys": [{**public, "kid": thumbprint(self.key)}]}))

    def grant(
        self,
        action: Action = Action.READ,
        residual: str | None = None,
        *,
        tenant_id: str = "tenant_a",
        caller_tenant_id: str | None = None,
        subject: str = "alice",
        may_configure: bool = False,
        seconds: float = 60,
    ) -> str:
        grant = Grant(
            subject=subject,
            caller_tenant_id=caller_tenant_id or tenant_id,
            role="analyst",
            tenant_id=tenant_id,
            action=action,
            residual=permit() if residual is None else residual,
            may_configure=may_configure,
            policy_version="1",
            expires_at=time.time() + seconds,
        )
        return GrantSigner(self.key, thumbprint(self.key)).sign(grant)


@dataclass
class Service:
    """A running retrieval service and what a caller needs."""

    stub: "retrieval_service_pb2_grpc.RetrievalServiceAsyncStub"
    channel: grpc.aio.Channel
    signer: Signer
    chroma: Path
    metrics_port: int

    async def load(
        self, *documents: document_pb2.DocumentInput, tenant_id: str = "tenant_a", **fields: object
    ) -> list[pb.ImportDocumentsResponse]:
        grant = fields.pop("grant", self.signer.grant(Action.WRITE, tenant_id=tenant_id))
        request = pb.ImportDocumentsRequest(grant=grant, documents=documents, **fields)  # type: ignore[arg-type]
        return await self.load_all([request])

    async def load_all(self, requests: Sequence[pb.ImportDocumentsRequest]) -> list[pb.ImportDocumentsResponse]:
        return [answer async for answer in self.stub.ImportDocuments(iter(requests), timeout=SECONDS)]

    async def search(self, grant: str | None = None, **fields: object) -> pb.SearchDocumentsResponse:
        defaults = {"query": query_pb2.Query(text="anything"), "k": 10, "grant": grant or self.signer.grant()}
        return await self.stub.SearchDocuments(
            pb.SearchDocumentsRequest(**{**defaults, **fields}),  # type: ignore[arg-type]
            timeout=SECONDS,
        )

    async def ids(self, grant: str | None = None, **fields: object) -> list[str]:
        return [result.document.document_id for result in (await self.search(grant, **fields)).results]

    async def get(self, *document_ids: str, grant: str | None = None, **fields: object) -> list[document_pb2.Document]:
        request = pb.GetDocumentsRequest(
            grant=grant or self.signer.grant(),
            document_ids=document_ids,
            **fields,  # type: ignore[arg-type]
        )
        return list((await self.stub.GetDocuments(request, timeout=SECONDS)).documents)

    async def delete(self, *document_ids: str, grant: str | None = None, collection_id: str = "") -> int:
        request = pb.DeleteDocumentsRequest(
            grant=grant or self.signer.grant(Action.DELETE), document_ids=document_ids, collection_id=collection_id
        )
        return (await self.stub.DeleteDocuments(request, timeout=SECONDS)).deleted_count

    async def collections(self, grant: str | None = None) -> dict[str, int]:
        request = pb.ListCollectionsRequest(grant=grant or self.signer.grant())
        answer = await self.stub.ListCollections(request, timeout=SECONDS)
        return {each.collection_id: each.document_count for each in answer.collections}

    async def is_serving(self, name: str = "") -> bool:
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


@asynccontextmanager
async def running(folder: Path, signer: Signer, **settings: object) -> AsyncIterator[Service]:
    chosen = RetrievalSettings(
        _env_file=None,
        **{
            "port": 0,
            "metrics_port": 0,
            "grant_jwks": str(signer.jwks),
            "chroma_path": folder / "chroma",
            "new_store_until": ANY_TIME,
            "shutdown_grace_seconds": 5,
            **settings,
        },
    )
    async with (
        running_retrieval(chosen) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
        yield Service(stub, channel, signer, folder / "chroma", service.metrics_port)


def text_value(text: str) -> value_pb2.Value:
    return value_pb2.Value(string_value=text)


def whole(number: int) -> value_pb2.Value:
    return value_pb2.Value(integer_value=number)


def document(
    document_id: str, text: str = "a passage", sensitivity: int = INTERNAL, **fields: object
) -> document_pb2.DocumentInput:
    defaults: dict[str, object] = {"topics": ["marketing"]}
    return document_pb2.DocumentInput(
        document_id=document_id,
        text=text,
        sensitivity=sensitivity,
        **{**defaults, **fields},  # type: ignore[arg-type]
    )


def vector_query(*numbers: float) -> query_pb2.Query:
    return query_pb2.Query(vector=query_pb2.Vector(values=numbers))
