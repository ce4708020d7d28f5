"""The command `mcp-server-vecsec`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from mcp_server_vecsec.over_http import app_of_many_users
from mcp_server_vecsec.over_stdio import server_of_one_user
from mcp_server_vecsec.settings import ConfigurationError, HttpSettings, Settings
from vecsec_client import TokenProvider, Unauthenticated, __version__, token_from_environment, token_from_file

_TOKEN, _TOKEN_FILE = "VECSEC_TOKEN", "VECSEC_TOKEN_FILE"
_WRONG_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the client goes (stdio) or a signal comes (HTTP)."""
    options = _parser().parse_args(arguments)
    try:
        if options.http:
            _serve_many(options)
        else:
            asyncio.run(_serve_one(options))
    except (ConfigurationError, Unauthenticated) as error:
        print(f"mcp-server-vecsec: {error}", file=sys.stderr)
        sys.exit(_WRONG_USAGE)


async def _serve_one(options: argparse.Namespace) -> None:
    settings = Settings(**_common(options))
    provider = _own_token()
    provider()  # whoever has none is told now, not by a model later
    async with settings.connect() as connection:
        await server_of_one_user(settings, connection, provider).run_stdio_async()


def _serve_many(options: argparse.Namespace) -> None:
    for variable in (_TOKEN, _TOKEN_FILE):
        if os.environ.get(variable):
            raise ConfigurationError(f"{variable} is set: over HTTP all users bring their own tokens; unset it")
    for name in ("resource", "issuer"):
        if not getattr(options, name):
            raise ConfigurationError(f"--http needs --{name}")
    settings = HttpSettings(
        **_common(options), resource=options.resource, issuer=options.issuer, host=options.host, port=options.port
    )
    uvicorn.run(app_of_many_users(settings), host=settings.host, port=settings.port, log_level="info")


def _own_token() -> TokenProvider:
    file = os.environ.get(_TOKEN_FILE)
    return token_from_file(file) if file else token_from_environment(_TOKEN)


def _common(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "gateway": options.gateway,
        "tenant": options.tenant or None,
        "tenant_claim": options.tenant_claim,
        "characters": options.characters,
        "root_certificates": options.root_certificates,
        "client_certificate": options.client_certificate,
        "client_key": options.client_key,
        "plaintext": True if options.plaintext else None,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-server-vecsec",
        description="Tools for agents that search and read in VecSec what their user may read. Over stdio that is who "
        f"{_TOKEN} or the file {_TOKEN_FILE} speaks for; over HTTP each request brings its user's token.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    add = parser.add_argument
    environment = os.environ.get
    add("--gateway", default=environment("VECSEC_GATEWAY", "localhost:50051"), help="host:port (VECSEC_GATEWAY)")
    add("--tenant", default="", help="the tenant to ask; without it the one that the token names")
    add("--tenant-claim", default="tenant_id", help="where tokens name their tenant (default: tenant_id)")
    add("--characters", type=int, default=20_000, help="how much text an answer holds at most (default: 20000)")
    add("--root-certificates", type=Path, default=_path("VECSEC_ROOT_CERTIFICATES"), help="trust these (PEM)")
    add("--client-certificate", type=Path, default=_path("VECSEC_CLIENT_CERTIFICATE"), help="show this one (PEM)")
    add("--client-key", type=Path, default=_path("VECSEC_CLIENT_KEY"), help="its private key (PEM)")
    add("--plaintext", action="store_true", help="do not encrypt, though the gateway is on another machine")
    add("--http", action="store_true", help="serve many users over streamable HTTP, without TLS: put a proxy before it")
    add("--resource", default="", help="the server's own address to its users, which their tokens have to be for")
    add("--issuer", default="", help="the authorization server from which users get tokens")
    add("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="where to listen (default: 8000)")
    return parser


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
