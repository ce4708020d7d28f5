"""The server over stdio, for the one user whose process it is."""

from mcp.server.mcpserver import MCPServer

from mcp_server_vecsec.callers import OneUser
from mcp_server_vecsec.settings import Settings
from mcp_server_vecsec.tools import INSTRUCTIONS, add_tools
from vecsec_client import AsyncVecSecClient, TokenProvider, __version__


def server_of_one_user(settings: Settings, connection: AsyncVecSecClient, provider: TokenProvider) -> MCPServer[None]:
    """A server that asks in the name of one user; who closes the connection is who made it."""
    server: MCPServer[None] = MCPServer("vecsec", instructions=INSTRUCTIONS, version=__version__, subscriptions=False)
    add_tools(server, OneUser(connection, provider, settings), settings)
    return server
