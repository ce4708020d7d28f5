"""What both clients are made of, apart from their channel."""

import uuid
from dataclasses import dataclass

from vecsec_client.errors import InvalidArgument
from vecsec_client.retrying import Deadline, RetryPolicy


@dataclass(frozen=True, slots=True)
class CallDefaults:
    """What holds for every call that does not say otherwise."""

    tenant: str | None
    timeout: float | None
    """Seconds; None waits for ever."""
    retry_policy: RetryPolicy

    def tenant_of(self, tenant: str | None) -> str:
        """The tenant of a call.

        Raises:
            InvalidArgument: if neither the call nor the client names one; it is never guessed from the token.
        """
        chosen = self.tenant if tenant is None else tenant
        if chosen is None:
            raise InvalidArgument.of("tenant_id", "name the tenant in the call, or a default_tenant for the client")
        return chosen

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call.

        Raises:
            InvalidArgument: if the timeout is not positive.
        """
        chosen = self.timeout if timeout is None else timeout
        if chosen is not None and not chosen > 0:
            raise InvalidArgument.of("timeout", "must be a positive number of seconds")
        return Deadline.after(chosen)


def new_request_id() -> str:
    """The id under which the services log a call, all its tries together."""
    return uuid.uuid4().hex
