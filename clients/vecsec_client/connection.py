"""What both clients are made of, apart from their channel."""

import math
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
    allow_mock: bool = False
    """Whether made-up rows are an answer."""

    def tenant_of(self, tenant: str | None) -> str:
        """The tenant of a call.

        Raises:
            InvalidArgument: if neither the call nor the client names one; it is never guessed from the token.
        """
        chosen = self.tenant if tenant is None else tenant
        if chosen is None:
            raise InvalidArgument.of("tenant_id", "name the tenant in the call, or a default_tenant for the client")
        return chosen

    def mock_allowed(self, allow_mock: bool | None) -> bool:
        """Whether a search may be answered with made-up rows.

        Raises:
            InvalidArgument: if it is no boolean, such as the text "none", which Python takes for yes.
        """
        chosen: object = self.allow_mock if allow_mock is None else allow_mock  # whatever the type says
        if not isinstance(chosen, bool):
            raise InvalidArgument.of("allow_mock", f"must be True or False, not {str(chosen)[:80]!r}")
        return chosen

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call.

        Raises:
            InvalidArgument: if the timeout is not positive.
        """
        chosen: object = self.timeout if timeout is None else timeout  # whatever the type says
        if chosen is None:
            return Deadline.after(None)
        if not isinstance(chosen, int | float) or not 0 < chosen < math.inf:
            raise InvalidArgument.of("timeout", "must be a positive number of seconds")
        return Deadline.after(chosen)


def new_request_id() -> str:
    """The id under which the services log a call, all its tries together."""
    return uuid.uuid4().hex
