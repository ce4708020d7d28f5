"""Tokens as Haystack's users have them: in a `Secret`, which pipelines write into no trace and no snapshot."""

from collections.abc import Callable
from typing import Any, TypeAlias

from haystack.utils import Secret

from vecsec_client import Unauthenticated
from vecsec_client.frameworks.identity import revealed

Token: TypeAlias = Secret | Callable[[], Any]


def provider_of(token: object) -> Callable[[], Any]:
    """What gives the token, at each call; a variable of the environment is read anew.

    Raises:
        Unauthenticated: if the token is nothing that a token can be; a provider raises it for an empty one. No message
            repeats it.
    """
    if isinstance(token, str) and token.strip():
        raise Unauthenticated(
            "no identity: token is a text; give Secret.from_token(TOKEN), for pipelines write texts into traces and "
            "snapshots"
        )
    if isinstance(token, Secret):
        return lambda: _resolved(token)
    given = revealed(token, "token")
    return given if callable(given) else lambda: given


def _resolved(secret: Secret) -> Any:
    try:
        return revealed(secret, "token")
    except ValueError as unset:  # a variable that the environment has not
        raise Unauthenticated(f"no identity: {unset}") from unset
