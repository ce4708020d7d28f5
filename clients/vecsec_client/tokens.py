"""Where a client gets its token from, asked anew for every try, so that rotated tokens are picked up."""

import inspect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from vecsec_client.errors import Unauthenticated

TokenProvider: TypeAlias = Callable[[], str]
"""Returns a token. It runs in the caller's thread; in the async client it must not block for long."""

AsyncTokenProvider: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns a token, or an awaitable of one."""


def static_token(token: str) -> TokenProvider:
    """Always the same token."""
    return lambda: token


def token_from_environment(variable: str = "VECSEC_TOKEN") -> TokenProvider:
    """The token in an environment variable.

    The provider raises `Unauthenticated` if the variable is not set.
    """

    def provide() -> str:
        token = os.environ.get(variable, "").strip()
        if not token:
            raise Unauthenticated(f"no token: the environment variable {variable} is not set")
        return token

    return provide


def token_from_file(path: Path | str) -> TokenProvider:
    """The token in a file, such as a projected service account token; it is read for every try.

    The provider raises `Unauthenticated` if the file cannot be read or is empty.
    """
    location = Path(path)

    def provide() -> str:
        try:
            token = location.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unauthenticated(f"no token: cannot read {location}: {error}") from error
        if not token:
            raise Unauthenticated(f"no token: {location} is empty")
        return token

    return provide


async def provided(provider: AsyncTokenProvider) -> str:
    """What the provider gives, waited for if need be."""
    token = provider()
    return await token if inspect.isawaitable(token) else token


def bearer_metadata(token: str, request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call.

    Raises:
        Unauthenticated: if the token is empty or could not stand in a header; the message does not repeat it.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Unauthenticated("no token: the token is empty, or holds blanks, control or non-ASCII characters")
    return (("authorization", f"Bearer {token}"), ("x-request-id", request_id))
