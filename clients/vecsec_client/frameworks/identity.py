"""Whose rows: a token as it comes from applications, who have it as a text, in a secret or from a function."""

from collections.abc import Callable
from typing import Any

from vecsec_client.errors import Unauthenticated

_REVEALING = ("get_secret_value", "resolve_value")
"""Of pydantic's and of Haystack's secrets."""


def revealed(token: object, name: str) -> str | Callable[[], Any]:
    """The token as the client takes it; `name` is what it is called where it was given.

    Raises:
        Unauthenticated: if it is none; the message does not repeat it.
    """
    given = token
    for method in _REVEALING:
        if hasattr(token, method):
            given = getattr(token, method)()
    if isinstance(given, str) and given.strip():
        return given
    if callable(given):
        return given
    said = "an empty text" if isinstance(given, str) else f"a {type(given).__name__}"
    raise Unauthenticated(f"no identity: {name} is {said}; it must be the caller's token")
