"""The server over streamable HTTP, for many users: an OAuth resource server as the MCP specification describes it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server_vecsec.callers import UserOfEachRequest
from mcp_server_vecsec.settings import HttpSettings
from mcp_server_vecsec.tools import INSTRUCTIONS, add_tools
from mcp_server_vecsec.verifying import GatewayUnreachable, GatewayVerifier
from vecsec_client import __version__

_logger = logging.getLogger(__name__)
_RETRY_AFTER_SECONDS = 5


def app_of_many_users(settings: HttpSettings) -> Starlette:
    """An ASGI application whose every request needs a token of its own, for this server.

    Without a good one it answers 401 and says in `WWW-Authenticate` where its metadata is, which names the
    authorization server. It keeps no sessions, so it may have replicas.

    Raises:
        ConfigurationError: if the gateway's certificates cannot be read.
    """
    connection = settings.connect()
    server: MCPServer[None] = MCPServer(
        "vecsec",
        instructions=INSTRUCTIONS,
        version=__version__,
        token_verifier=GatewayVerifier(connection, settings),
        auth=AuthSettings.model_validate(  # of texts, for addresses that were read already get a slash at the end
            {
                "issuer_url": settings.issuer,
                "resource_server_url": settings.resource,
                "validate_token_resource": True,
            }
        ),
        subscriptions=False,
    )
    add_tools(server, UserOfEachRequest(connection, settings), settings)
    app = server.streamable_http_app(
        streamable_http_path=settings.path,
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=[settings.own_host, "127.0.0.1:*", "localhost:*"],
            allowed_origins=[settings.origin],
        ),
    )
    app.add_middleware(_SaysWhenNobodyCanVerify)
    sessions = app.router.lifespan_context

    @asynccontextmanager
    async def life(starlette: Starlette) -> AsyncIterator[None]:
        async with connection, sessions(starlette):
            yield

    app.router.lifespan_context = life
    return app


class _SaysWhenNobodyCanVerify:
    """503 while the gateway is out of reach: 401 would send users to sign in again, for nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except GatewayUnreachable as unreachable:
            _logger.warning("a token cannot be verified: %s", unreachable)
            response = JSONResponse(
                {"error": "temporarily_unavailable", "error_description": "tokens cannot be verified at the moment"},
                status_code=503,
                headers={"Retry-After": str(_RETRY_AFTER_SECONDS)},
            )
            await response(scope, receive, send)
