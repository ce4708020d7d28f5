"""VecSec for agents: an MCP server whose tools search and read what the user of each request may read, nothing else.

`mcp-server-vecsec` serves one user over stdio, or many over HTTP, each by the token of their own requests.
"""

from mcp_server_vecsec.over_http import app_of_many_users
from mcp_server_vecsec.over_stdio import server_of_one_user
from mcp_server_vecsec.settings import ConfigurationError, HttpSettings, Settings

__all__ = ["ConfigurationError", "HttpSettings", "Settings", "app_of_many_users", "server_of_one_user"]
