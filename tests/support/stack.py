"""The three services in one process, in their production wiring, on free ports, with real tokens and real storage."""

import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import grpc
import yaml

import vecsec_policy
from support.certificates import Authority
from support.crossing import let_admins_cross
from support.issuer import Issuer
from support.new_store import ANY_TIME
from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.policy.v1 import policy_service_pb2, policy_service_pb2_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec.type.v1 import access_pb2, document_pb2, query_pb2, sensitivity_pb2
from vecsec_chassis.rpc.server import RunningService
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

Metadata = tuple[tuple[str, str], ...]
SEARCH_SECONDS = 30


def bearer(token: str) -> Metadata:
    """The metadata that says who calls."""
    return (("authorization", f"Bearer {token}"),)


def document(
    document_id: str, text: str, sensitivity: str = "INTERNAL", topics: tuple[str, ...] = ("marketing",)
) -> document_pb2.DocumentInput:
    """A document to import."""
    return document_pb2.DocumentInput(
        document_id=document_id,
        text=text,
        sensitivity=sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{sensitivity}"),
        topics=topics,
    )


@dataclass(frozen=True)
class Stack:
    """A running installation and what a test needs to talk to it."""

    folder: Path
    issuer: Issuer
    policy_service: RunningService
    retrieval_service: RunningService
    gateway_service: RunningService
    gateway: "gateway_service_pb2_grpc.GatewayServiceAsyncStub"
    policy: "policy_service_pb2_grpc.PolicyServiceAsyncStub"
    retrieval: "retrieval_service_pb2_grpc.RetrievalServiceAsyncStub"

    @property
    def chroma_path(self) -> Path:
        return self.folder / "chroma"

    @property
    def policy_folder(self) -> Path:
        return self.folder / "policy"

    @property
    def flag_file(self) -> Path:
        return self.folder / "flags.json"

    @property
    def audit_file(self) -> Path:
        return self.folder / "audit" / "policy.jsonl"

    async def load(
        self, tenant_id: str, *documents: document_pb2.DocumentInput, collection_id: str = "", token: str | None = None
    ) -> None:
        """Import documents, as the tenant's administrator unless a token says otherwise."""
        request = gateway_service_pb2.ImportDocumentsRequest(
            tenant_id=tenant_id, collection_id=collection_id, documents=documents
        )
        metadata = bearer(token or self.issuer.token(tenant_id, "admin", "SECRET", "loader"))
        async for _ in self.gateway.ImportDocuments(iter([request]), metadata=metadata, timeout=SEARCH_SECONDS):
            pass

    async def search(
        self, token: str, tenant_id: str, text: str = "anything", k: int = 10, **fields: object
    ) -> gateway_service_pb2.SearchDocumentsResponse:
        """Search through the gateway; no mock unless the test asks for it."""
        request = gateway_service_pb2.SearchDocumentsRequest(
            tenant_id=tenant_id,
            query=query_pb2.Query(text=text),
            k=k,
            **{"fallback": gateway_service_pb2.FALLBACK_NONE, **fields},  # type: ignore[arg-type]
        )
        return await self.gateway.SearchDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)

    async def ids(self, token: str, tenant_id: str, text: str = "anything", k: int = 10, **fields: object) -> list[str]:
        """The ids that a search gives, nearest first."""
        answer = await self.search(token, tenant_id, text, k, **fields)
        return [result.document.document_id for result in answer.results]

    async def grant(
        self, token: str, tenant_id: str, action: access_pb2.Action.ValueType = access_pb2.ACTION_READ
    ) -> str:
        """A grant, straight from the policy service."""
        request = policy_service_pb2.PlanAccessRequest(tenant_id=tenant_id, action=action)
        return (await self.policy.PlanAccess(request, metadata=bearer(token), timeout=SEARCH_SECONDS)).grant

    async def violations(self, tenant_id: str) -> dict[str, int]:
        """The tenant's violation counts that are not 0, by type, and `denied` with the number of denials."""
        token = self.issuer.token(tenant_id, "admin", "SECRET", "auditor")
        request = policy_service_pb2.CountViolationsRequest(tenant_id=tenant_id)
        answer = await self.policy.CountViolations(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        counts = {
            access_pb2.ViolationType.Name(entry.violation_type).removeprefix("VIOLATION_TYPE_").lower(): entry.count
            for entry in answer.violations
            if entry.count
        }
        return counts | ({"denied": answer.denied_count} if answer.denied_count else {})

    def metrics(self, service: RunningService) -> dict[str, float]:
        """The service's metrics by series, as Prometheus would read them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {
            series: float(value)
            for series, _, value in (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        }


@asynccontextmanager
async def running_stack(
    folder: Path,
    *,
    tenants: dict[str, list[str]] | None = None,
    admins_cross: bool = False,
    authority: Authority | None = None,
    **environment: object,
) -> AsyncIterator[Stack]:
    """Start policy, retrieval and gateway; `tenants` (id to topics) come beside the default ones, and `admins_cross`
    says whether admins read across tenants.

    With an authority they speak TLS with one another and with callers, and the stubs of policy and retrieval show the
    gateway's identity. `environment` holds further settings by their variables' names.
    """
    issuer = Issuer(folder / "keys")
    is_new = not (folder / "policy").exists()
    _write_policy(folder / "policy", tenants or {})
    if not (folder / "flags.json").exists():
        (folder / "flags.json").write_text('{"flags": {}}')  # as `vecsec up` does
    if admins_cross and is_new:
        let_admins_cross(folder / "policy")
    shared = {
        "VECSEC_ISSUERS_FILE": issuer.issuers_file,
        "VECSEC_FLAG_FILE": folder / "flags.json",
        "VECSEC_SHUTDOWN_GRACE_SECONDS": 2,
        # A busy machine is no slow peer: a test about those says how long a try may take.
        "VECSEC_POLICY_TIMEOUT_SECONDS": SEARCH_SECONDS,
        "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": SEARCH_SECONDS,
        "VECSEC_DEFAULT_DEADLINE_SECONDS": SEARCH_SECONDS,
    }

    def secured(service: str) -> dict[str, object]:
        return {} if authority is None else authority.settings(service)

    async with AsyncExitStack() as stack:
        policy = await stack.enter_async_context(
            running_policy(
                PolicySettings.model_validate(
                    shared
                    | {
                        "VECSEC_POLICY_PORT": 0,
                        "VECSEC_POLICY_METRICS_PORT": 0,
                        "VECSEC_POLICY_DIR": folder / "policy",
                        "VECSEC_GRANT_KEY_FILE": issuer.grant_key_file,
                        "VECSEC_AUDIT_FILE": folder / "audit" / "policy.jsonl",
                    }
                    | secured("policy")
                    | environment
                )
            )
        )
        retrieval = await stack.enter_async_context(
            running_retrieval(
                RetrievalSettings.model_validate(
                    shared
                    | {
                        "VECSEC_RETRIEVAL_PORT": 0,
                        "VECSEC_RETRIEVAL_METRICS_PORT": 0,
                        "VECSEC_GRANT_JWKS": str(issuer.grant_jwks_file),
                        "VECSEC_POLICY_ADDRESS": f"localhost:{policy.port}",
                        "CHROMA_PATH": folder / "chroma",
                        "VECSEC_NEW_STORE_UNTIL": ANY_TIME,
                    }
                    | secured("retrieval")
                    | environment
                )
            )
        )
        gateway = await stack.enter_async_context(
            running_gateway(
                GatewaySettings.model_validate(
                    shared
                    | {
                        "VECSEC_GATEWAY_PORT": 0,
                        "VECSEC_GATEWAY_METRICS_PORT": 0,
                        "VECSEC_POLICY_ADDRESS": f"localhost:{policy.port}",
                        "VECSEC_RETRIEVAL_ADDRESS": f"localhost:{retrieval.port}",
                    }
                    | secured("gateway")
                    | environment
                )
            )
        )
        channels = [
            await stack.enter_async_context(_channel(f"localhost:{service.port}", authority))
            for service in (gateway, policy, retrieval)
        ]
        yield Stack(
            folder=folder,
            issuer=issuer,
            policy_service=policy,
            retrieval_service=retrieval,
            gateway_service=gateway,
            gateway=gateway_service_pb2_grpc.GatewayServiceStub(channels[0]),
            policy=policy_service_pb2_grpc.PolicyServiceStub(channels[1]),
            retrieval=retrieval_service_pb2_grpc.RetrievalServiceStub(channels[2]),
        )


def _channel(address: str, authority: Authority | None) -> grpc.aio.Channel:
    if authority is None:
        return grpc.aio.insecure_channel(address)
    return grpc.aio.secure_channel(address, authority.credentials())


def _write_policy(folder: Path, tenants: dict[str, list[str]]) -> None:
    if not folder.exists():
        copytree(Path(vecsec_policy.__file__).parent / "default_policy", folder)
    path = folder / "tenants.yaml"
    known = yaml.safe_load(path.read_text())
    known["tenants"] |= {tenant_id: {"topics": topics} for tenant_id, topics in tenants.items()}
    path.write_text(yaml.safe_dump(known))
