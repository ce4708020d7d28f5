"""Lets only those peers call that are allowed to, by the certificate that their connection was made with."""

from collections.abc import Iterable

import structlog
from grpc_status import rpc_status
from opentelemetry.metrics import Meter

from vecsec_chassis.domain.errors import AccessDenied
from vecsec_chassis.rpc.error_status import error_status
from vecsec_chassis.rpc.interceptors import AroundInterceptor, Context
from vecsec_chassis.telemetry.metrics import Tally
from vecsec_chassis.tls.allowed_peers import HEALTH, LANES, REFLECTION, AllowedPeers, short_name

log = structlog.get_logger()

# Only what the certificate says in a typed field counts: the common name and the mixed list of all names do not.
_IDENTITY_FIELDS = ("peer_uri", "peer_dns")
_REFUSAL = AccessDenied("this peer may not call this")


class PeerInterceptor(AroundInterceptor):
    """Refuses peers that are not allowed to call a method, health and reflection included, all in the same words."""

    covers_infrastructure = True

    def __init__(self, allowed: AllowedPeers, methods: Iterable[str], meter: Meter) -> None:
        self._allowed = allowed
        self._denied = Tally(meter, "vecsec_peer_denied", "Calls of peers that may not make them, by method.", "method")
        for method in (*methods, HEALTH, REFLECTION, LANES):
            self._denied.add(0, method)

    async def before(self, method: str, context: Context) -> None:
        """Put the question of which machine calls before the handler."""
        name = short_name(method)
        if self._allowed.may_call(_identities(context), name):
            return
        self._denied.add(1, name)
        log.warning("Peer refused", method=method, identities=_identities(context))
        await context.abort_with_status(rpc_status.to_status(error_status(_REFUSAL)))


def _identities(context: Context) -> list[str]:
    """The identities that the peer has proven; none without TLS or without a certificate."""
    proven = context.auth_context()
    return [value.decode(errors="replace") for field in _IDENTITY_FIELDS for value in proven.get(field, ())]
