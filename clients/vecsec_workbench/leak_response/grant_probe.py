"""Asks the running services whether a leak response took effect: as a direct caller, past the gateway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import grpc
from joserfc import jws
from joserfc.errors import JoseError

from vecsec.policy.v1 import policy_service_pb2, policy_service_pb2_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2, retrieval_service_pb2_grpc
from vecsec.type.v1 import access_pb2, query_pb2
from vecsec_chassis.auth.grants import signed_part
from vecsec_cli.checks.services import services
from vecsec_cli.local import development_issuer
from vecsec_cli.local.service_channels import open_channel, service_credentials
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import VecSecError
from vecsec_client.wire.error_details import from_rpc_error
from vecsec_workbench.leak_response.installation_files import InstallationFiles

_WAIT_SECONDS = 3.0
_TOKEN_SECONDS = 300


class GrantStatus(StrEnum):
    """What retrieval makes of a grant."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Retrieval gave no answer."""


@dataclass(frozen=True, slots=True)
class GrantProbe:
    """Plans and tries grants to read."""

    policy: "policy_service_pb2_grpc.PolicyServiceStub"
    retrieval: "retrieval_service_pb2_grpc.RetrievalServiceStub"
    token_for: Callable[[str], str]
    """A caller's token by the tenant that it is to be used in."""

    def grant(self, tenant_id: str) -> str:
        """A fresh grant to read in a tenant.

        Raises:
            VecSecError: if the policy service gives none.
        """
        request = policy_service_pb2.PlanAccessRequest(tenant_id=tenant_id, action=access_pb2.ACTION_READ)
        metadata = (("authorization", f"Bearer {self.token_for(tenant_id)}"),)
        try:
            return self.policy.PlanAccess(request, metadata=metadata, timeout=_WAIT_SECONDS).grant
        except grpc.RpcError as error:
            raise from_rpc_error(error, request_id="") from error

    def signing_key(self, tenant_id: str) -> str | None:
        """The id of the key that signs now; None if there is no fresh grant to see it by."""
        try:
            return str(jws.extract_compact(signed_part(self.grant(tenant_id)).encode()).headers()["kid"])
        except (VecSecError, JoseError):
            return None

    def status(self, grant: str) -> GrantStatus:
        """Whether retrieval accepts a grant, which it looks at before the flag."""
        request = retrieval_service_pb2.ListCollectionsRequest(grant=grant)
        try:
            self.retrieval.ListCollections(request, timeout=_WAIT_SECONDS)
        except grpc.RpcError as error:
            failure = from_rpc_error(error, request_id="")
            if failure.reason == "INVALID_GRANT":
                return GrantStatus.REFUSED
            is_accepted = failure.reason in {"STORE_DAMAGED", "REAL_RETRIEVAL_OFF"}
            return GrantStatus.ACCEPTED if is_accepted else GrantStatus.UNKNOWN
        return GrantStatus.ACCEPTED

    def is_off(self, tenant_id: str) -> bool:
        """Whether retrieval withholds real rows from a direct caller with a fresh grant.

        Raises:
            VecSecError: if that cannot be found out.
        """
        query = query_pb2.Query(text="leak response")
        request = retrieval_service_pb2.SearchDocumentsRequest(grant=self.grant(tenant_id), query=query, k=1)
        try:
            self.retrieval.SearchDocuments(request, timeout=_WAIT_SECONDS)
        except grpc.RpcError as error:
            failure = from_rpc_error(error, request_id="")
            if failure.reason == "REAL_RETRIEVAL_OFF":
                return True
            raise failure from error
        return False


@contextmanager
def open_probe(files: InstallationFiles, token: str) -> Iterator[GrantProbe]:
    """Connect to policy and retrieval; tokens are of the installation's own issuer, where it has one.

    Raises:
        CommandFailure: if there is neither issuer nor token, or a TLS file cannot be read.
    """
    if not (token or files.state.issuer_key.exists()):
        raise CommandFailure("there is no token to ask with: set VECSEC_TOKEN")

    def token_for(tenant_id: str) -> str:
        if not files.state.issuer_key.exists():
            return token
        return development_issuer.mint_token(
            files.state,
            subject="vecsec-panic",
            tenant_id=tenant_id,
            role="admin",
            clearance="SECRET",
            lifetime_seconds=_TOKEN_SECONDS,
        )

    credentials = service_credentials(files.settings)
    found = services(files.state, files.settings)
    missing = {"policy", "retrieval"} - found.keys()
    if missing:
        raise CommandFailure(f"run.json does not say where to find {', '.join(sorted(missing))}")
    with (
        open_channel(found["policy"].address, credentials) as policy,
        open_channel(found["retrieval"].address, credentials) as retrieval,
    ):
        yield GrantProbe(
            policy_service_pb2_grpc.PolicyServiceStub(policy),
            retrieval_service_pb2_grpc.RetrievalServiceStub(retrieval),
            token_for,
        )
