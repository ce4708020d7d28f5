"""In whose name a tool calls the gateway: always that of the user of the very request, never anybody else's."""

from typing import Any, Protocol

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from mcp_server_vecsec.claims import claims_of, tenant_of
from mcp_server_vecsec.settings import Settings
from vecsec_client import AsyncVecSecClient, TokenProvider


class Callers(Protocol):
    """Who asks."""

    def client_of(self, context: Context[Any, Any]) -> AsyncVecSecClient:
        """A client in the name of the user of this request.

        Raises:
            ToolError: if it cannot be said who asks, or for which tenant.
            Unauthenticated: if there is no token.
        """


class OneUser:
    """Over stdio: the process is the user's own, and so is its token, asked for at every call."""

    def __init__(self, connection: AsyncVecSecClient, provider: TokenProvider, settings: Settings) -> None:
        self._connection = connection
        self._provider = provider
        self._settings = settings

    def client_of(self, context: Context[Any, Any]) -> AsyncVecSecClient:
        """The same user for every request."""
        del context
        return _view(self._connection, self._provider(), self._settings)


class UserOfEachRequest:
    """Over HTTP: whoever the request's own token speaks for.

    It is taken from the HTTP request that brought the message. What the SDK keeps in a context variable would be the
    token of whoever opened a session.
    """

    def __init__(self, connection: AsyncVecSecClient, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def client_of(self, context: Context[Any, Any]) -> AsyncVecSecClient:
        """A view for this request."""
        request = context.request_context.request
        user = None if request is None else request.scope.get("user")
        if not isinstance(user, AuthenticatedUser):
            raise ToolError("no token: this request names no user, and nobody else's token takes its place")
        return _view(self._connection, user.access_token.token, self._settings)


def _view(connection: AsyncVecSecClient, token: str, settings: Settings) -> AsyncVecSecClient:
    tenant = settings.tenant or tenant_of(claims_of(token), settings.tenant_claim)
    if tenant is None:
        raise ToolError(f"no tenant: the token has no claim {settings.tenant_claim!r}, and the server names none")
    return connection.with_token(token, default_tenant=tenant)
