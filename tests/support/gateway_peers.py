"""Stand-ins for the gateway's peers, for faults that the real ones do not have: slow, dead, garbage, forgetful.

They are real gRPC servers with scripted answers, which keep what they were asked.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_status import rpc_status

from support.issuer import Issuer
from support.waiting import until
from vecsec.gateway.v1 import gateway_service_pb2_grpc as gateway_grpc
from vecsec.lane.v1 import lane_service_pb2_grpc as lane_grpc
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.policy.v1 import policy_service_pb2_grpc as policy_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc as retrieval_grpc
from vecsec.type.v1 import access_pb2, collection_pb2, document_pb2, label_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import VecSecError
from vecsec_chassis.rpc.error_status import error_status
from vecsec_chassis.rpc.lane_server import LaneMethods, LaneServicer
from vecsec_chassis.rpc.server import RunningService
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings

Context = Any
Script = Callable[[Any, Context], Awaitable[Any]]


async def refuse(context: Context, error: VecSecError) -> None:
    """Answer as a VecSec service does that raises this error."""
    await context.abort_with_status(rpc_status.to_status(error_status(error)))


def refusing(error: VecSecError) -> Script:
    """A script that always refuses."""

    async def script(_request: Any, context: Context) -> Any:
        await refuse(context, error)

    return script


def row(
    document_id: str,
    tenant_id: str = "tenant_a",
    provenance: document_pb2.Provenance.ValueType = document_pb2.PROVENANCE_REAL,
    sensitivity: sensitivity_pb2.Sensitivity.ValueType = sensitivity_pb2.SENSITIVITY_PUBLIC,
) -> document_pb2.ScoredDocument:
    """A row as retrieval would send it."""
    label = label_pb2.Label(tenant_id=tenant_id, sensitivity=sensitivity, topics=["rag"])
    document = document_pb2.Document(document_id=document_id, text=f"text of {document_id}", label=label)
    return document_pb2.ScoredDocument(document=document, score=0.5, provenance=provenance)


@dataclass
class Peer:
    """What a stand-in was asked, and what it is told to do instead of its usual answer, by method."""

    calls: Counter[str] = field(default_factory=Counter)
    metadata: list[dict[str, str]] = field(default_factory=list)
    seconds_left: list[float | None] = field(default_factory=list)
    scripts: dict[str, Script] = field(default_factory=dict)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, method: str, request: Any, context: Context, usual: Any) -> Any:
        self.note(method, context)
        script = self.scripts.get(method)
        try:
            return usual if script is None else await script(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def note(self, method: str, context: Context) -> None:
        self.calls[method] += 1
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.seconds_left.append(context.time_remaining())


class FakePolicy(Peer, policy_grpc.PolicyServiceServicer):
    """Grants everything inside tenant_a and allows every row of it that is not SECRET."""

    grant_seconds = 60.0
    version = "v1"
    checks_by: str | None = None
    """The version that checks are by, where it is not that of plans."""

    async def PlanAccess(self, request: policy_pb2.PlanAccessRequest, context: Context) -> Any:
        expires = Timestamp()
        expires.FromNanoseconds(int((time.time() + self.grant_seconds) * 1e9))
        usual = policy_pb2.PlanAccessResponse(
            grant=f"grant {self.calls['PlanAccess'] + 1}",
            expire_time=expires,
            policy_version=self.version,
            topics=["rag", "finance"],
        )
        return await self.answer("PlanAccess", request, context, usual)

    async def CheckDocuments(self, request: policy_pb2.CheckDocumentsRequest, context: Context) -> Any:
        usual = policy_pb2.CheckDocumentsResponse(policy_version=self.checks_by or self.version)
        for label in request.labels:
            secret = label.sensitivity == sensitivity_pb2.SENSITIVITY_SECRET
            decision = access_pb2.DECISION_WITHHOLD if secret else access_pb2.DECISION_ALLOW
            usual.verdicts.add(decision=decision)
        return await self.answer("CheckDocuments", request, context, usual)

    async def ExplainAccess(self, request: policy_pb2.ExplainAccessRequest, context: Context) -> Any:
        usual = policy_pb2.ExplainAccessResponse(decision=access_pb2.DECISION_ALLOW, incident_id="incident 1")
        return await self.answer("ExplainAccess", request, context, usual)

    async def GetPolicyStatus(self, request: policy_pb2.GetPolicyStatusRequest, context: Context) -> Any:
        usual = policy_pb2.GetPolicyStatusResponse(policy_version=self.version)
        return await self.answer("GetPolicyStatus", request, context, usual)

    async def CountViolations(self, request: policy_pb2.CountViolationsRequest, context: Context) -> Any:
        return await self.answer(
            "CountViolations", request, context, policy_pb2.CountViolationsResponse(denied_count=7)
        )


class FakeRetrieval(Peer, retrieval_grpc.RetrievalServiceServicer):
    """Has two rows, stores every batch, and keeps the grants that came with them."""

    rows: list[document_pb2.ScoredDocument]
    grants: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.rows = [row("first"), row("second")]
        self.grants = []
        self.release_batches = asyncio.Event()
        self.release_batches.set()
        self.batches_received = 0
        self.ends_import_after = 0

    async def SearchDocuments(self, request: retrieval_pb2.SearchDocumentsRequest, context: Context) -> Any:
        self.grants.append(request.grant)
        usual = retrieval_pb2.SearchDocumentsResponse(results=self.rows)
        return await self.answer("SearchDocuments", request, context, usual)

    async def GetDocuments(self, request: retrieval_pb2.GetDocumentsRequest, context: Context) -> Any:
        usual = retrieval_pb2.GetDocumentsResponse(documents=[each.document for each in self.rows])
        return await self.answer("GetDocuments", request, context, usual)

    async def DeleteDocuments(self, request: retrieval_pb2.DeleteDocumentsRequest, context: Context) -> Any:
        usual = retrieval_pb2.DeleteDocumentsResponse(deleted_count=len(request.document_ids))
        return await self.answer("DeleteDocuments", request, context, usual)

    async def ListCollections(self, request: retrieval_pb2.ListCollectionsRequest, context: Context) -> Any:
        collection = collection_pb2.Collection(collection_id="documents", document_count=2)
        usual = retrieval_pb2.ListCollectionsResponse(collections=[collection])
        return await self.answer("ListCollections", request, context, usual)

    async def ImportDocuments(
        self, requests: AsyncIterator[retrieval_pb2.ImportDocumentsRequest], context: Context
    ) -> AsyncIterator[retrieval_pb2.ImportDocumentsResponse]:
        self.note("ImportDocuments", context)
        number = total = 0
        try:
            async for request in requests:
                self.batches_received += 1
                number += 1
                self.grants.append(request.grant)
                if "ImportDocuments" in self.scripts:
                    await self.scripts["ImportDocuments"](request, context)
                await self.release_batches.wait()
                total += len(request.documents)
                yield retrieval_pb2.ImportDocumentsResponse(
                    batch_number=number, stored_count=len(request.documents), total_stored_count=total
                )
                if self.batches_received == self.ends_import_after:
                    return
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@dataclass(frozen=True)
class GatewayWithPeers:
    """A gateway in its production wiring between two stand-ins."""

    stub: "gateway_grpc.GatewayServiceAsyncStub"
    channel: grpc.aio.Channel
    service: RunningService
    policy: FakePolicy
    retrieval: FakeRetrieval
    policy_server: grpc.aio.Server
    retrieval_server: grpc.aio.Server
    issuer: Issuer
    token: str
    """One for all calls of a test: what is remembered of a caller is remembered by the token."""


@asynccontextmanager
async def gateway_with_peers(folder: Path, *, lanes: int = 0, **environment: object) -> AsyncIterator[GatewayWithPeers]:
    """Start the three, with so many lanes to each peer; `environment` sets the gateway's settings by their names."""
    issuer = Issuer(folder / "issuer")
    policy, retrieval = FakePolicy(), FakeRetrieval()
    async with (
        _served(lambda server: policy_grpc.add_PolicyServiceServicer_to_server(policy, server)) as (
            policy_server,
            policy_at,
            policy_lanes,
        ),
        _served(lambda server: retrieval_grpc.add_RetrievalServiceServicer_to_server(retrieval, server)) as (
            retrieval_server,
            retrieval_at,
            retrieval_lanes,
        ),
        running_gateway(
            GatewaySettings.model_validate(
                {
                    "VECSEC_GATEWAY_PORT": 0,
                    "VECSEC_GATEWAY_METRICS_PORT": 0,
                    "VECSEC_ISSUERS_FILE": issuer.issuers_file,
                    "VECSEC_POLICY_ADDRESS": policy_at,
                    "VECSEC_RETRIEVAL_ADDRESS": retrieval_at,
                    "VECSEC_SHUTDOWN_GRACE_SECONDS": 1,
                    # A busy machine is no slow peer: a test about those says how long a try may take.
                    "VECSEC_POLICY_TIMEOUT_SECONDS": 30,
                    "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": 30,
                    "VECSEC_PEER_LANES": lanes,
                    **environment,
                }
            )
        ) as service,
        grpc.aio.insecure_channel(f"localhost:{service.port}") as channel,
    ):
        await until(lambda: len(policy_lanes._lanes) + len(retrieval_lanes._lanes) >= 2 * lanes)
        stub = gateway_grpc.GatewayServiceStub(channel)
        yield GatewayWithPeers(
            stub, channel, service, policy, retrieval, policy_server, retrieval_server, issuer, issuer.token()
        )


@asynccontextmanager
async def _served(add: Callable[[grpc.aio.Server], None]) -> AsyncIterator[tuple[grpc.aio.Server, str, LaneServicer]]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add(server)
    methods = LaneMethods(())
    add(cast("grpc.aio.Server", methods))
    lanes = LaneServicer(methods, life_seconds=60)
    lane_grpc.add_LaneServiceServicer_to_server(lanes, server)
    # Not "localhost": of its two addresses gRPC is content with one, and the other may be somebody else's.
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server, f"localhost:{port}", lanes
    finally:
        await server.stop(0)
