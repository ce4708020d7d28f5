"""Where a client gets its token from, asked anew for every try, so that rotated tokens are picked up."""

import inspect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from vecsec_client.errors import Unauthenticated

TokenProvider: TypeAlias = Callable[[], str]
"""Returns a token. It runs in the caller's thread; in the async client it must not block for long."""

AsyncTokenProvider: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns a token, or an awaitable of one."""

ProviderT = TypeVar("ProviderT", TokenProvider, AsyncTokenProvider)


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


def nobodys_token() -> str:
    """The provider of a client that has no token of its own, only its views have."""
    raise Unauthenticated("no token: this client was made without one; call through client.with_token(...)")


def provider_of(token: str | ProviderT) -> ProviderT:
    """What gives this token.

    Raises:
        TypeError: for what is neither a text nor a function, such as the None of a request that bore no token. Whoever
            has no token must never be taken for somebody else who has one.
    """
    given: object = token  # whatever the type says
    if isinstance(given, str):
        return static_token(given)
    if not callable(given):
        raise TypeError(f"token: must be a text, or a function that returns one, not {type(given).__name__}")
    return given


async def provided(provider: AsyncTokenProvider) -> str:
    """What the provider gives, waited for if need be."""
    token = provider()
    return await token if inspect.isawaitable(token) else token


def bearer_metadata(token: str, request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call.

    Raises:
        Unauthenticated: if the token is empty or could not stand in a header; the message does not repeat it.
    """
    given: object = token  # whatever the provider's type says
    if not isinstance(given, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Unauthenticated("no token: the token is empty, no text, or holds blanks, control or non-ASCII characters")
    return (("authorization", f"Bearer {token}"), ("x-request-id", request_id))
