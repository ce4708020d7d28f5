"""Lets the calls of this gateway in, each held to the limits of its caller's own tenant."""

from vecsec_chassis.calls import current_identity, current_token, stood_aside
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_gateway.limits.known_limits import KnownLimits
from vecsec_gateway.limits.tenant_shares import TenantShares, Ticket


class Gatekeeper:
    """Knows limits and parts."""

    def __init__(self, shares: TenantShares, limits: KnownLimits) -> None:
        self._shares = shares
        self._limits = limits

    def enter(self, cost: float) -> Ticket:
        """Let the current call in, which costs so many units; it is to `leave`.

        Raises:
            TenantLimit: saying which limit, and when to try again.
        """
        identity = current_identity()
        return self._shares.enter(identity, cost, self._limits.of(identity.tenant_id, current_token()))

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait, for so long at most, until a call that was let in may begin; it is to `end_turn`.

        Raises:
            TenantLimit: if it takes longer.
        """
        if ticket.is_dear:
            # The time is known with the call: what runs out of time then is not blamed on a peer, and not made up.
            has_turn = False
            try:
                async with stood_aside(is_dear=True):
                    await self._shares.turn(ticket, seconds)
                    has_turn = True
            except BaseException:
                if has_turn:  # and no place to use it in
                    self._shares.end_turn(ticket)
                raise

    def end_turn(self, ticket: Ticket) -> None:
        """A call that had its turn has ended."""
        self._shares.end_turn(ticket)

    def leave(self, ticket: Ticket, error: BaseException | None = None) -> None:
        """A call that was let in has ended, perhaps by this error."""
        self._shares.leave(ticket, was_denied=isinstance(error, AccessDenied))

    @property
    def replicas(self) -> int:
        """By how many the limits of rates and calls are divided here."""
        return self._shares.replicas
