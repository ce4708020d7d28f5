"""Lets only those peers call that are allowed to, by the certificate that their connection was made with."""

from collections.abc import Iterable

import structlog
from grpc_status import rpc_status
from opentelemetry.metrics import Meter

from vecsec_chassis.calls import current_call
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_chassis.rpc.error_status import error_status
from vecsec_chassis.rpc.interceptors import INFRASTRUCTURE_PREFIXES, PEERS_KEY, AroundInterceptor, Context
from vecsec_chassis.telemetry.metrics import LabelledCounter
from vecsec_chassis.tls.allowed_peers import HEALTH, LANES, REFLECTION, AllowedPeers, short_name

log = structlog.get_logger()

_TOLD_PEERS = 8
# Only what the certificate says in a typed field counts: the common name and the mixed list of all names do not.
_IDENTITY_FIELDS = ("peer_uri", "peer_dns")
_REFUSAL = AccessDenied("this peer may not call this")


class PeerInterceptor(AroundInterceptor):
    """Refuses peers that are not allowed to call a method, health and reflection included, all in the same words."""

    covers_infrastructure = True

    def __init__(
        self, allowed: AllowedPeers, methods: Iterable[str], meter: Meter, *, hears_of_callers: bool = False
    ) -> None:
        """`hears_of_callers`: whether peers are VecSec's own services, whose word on who called them is recorded."""
        self._allowed = allowed
        self._hears_of_callers = hears_of_callers
        self._denied = LabelledCounter(
            meter, "vecsec_peer_denied", "Calls of peers that may not make them, by method.", "method"
        )
        for method in (*methods, HEALTH, REFLECTION, LANES):
            self._denied.add(0, method)

    async def before(self, method: str, context: Context) -> None:
        """Put the question of which machine calls before the handler."""
        name = short_name(method)
        identities = _identities(context)
        if self._allowed.may_call(identities, name):
            if not method.startswith(INFRASTRUCTURE_PREFIXES):
                current_call().peers = (*self._told(context), *identities[:1])
            return
        self._denied.add(1, name)
        log.warning("Peer refused", method=method, identities=identities)
        await context.abort_with_status(rpc_status.to_status(error_status(_REFUSAL)))

    def _told(self, context: Context) -> list[str]:
        """The machines by which our peer was called, by its own word."""
        if not self._hears_of_callers:
            return []
        told = next((value for key, value in context.invocation_metadata() or () if key == PEERS_KEY), "")
        return [name for name in str(told).split(" ") if name.isprintable() and name][:_TOLD_PEERS]


def _identities(context: Context) -> list[str]:
    """The identities that the peer has proven; none without TLS or without a certificate."""
    proven = context.auth_context()
    return [value.decode(errors="replace") for field in _IDENTITY_FIELDS for value in proven.get(field, ())]
