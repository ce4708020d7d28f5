"""Who asks: by the configuration of the run, request by request.

    retriever.invoke(question, config={"configurable": {"vecsec_token": token_of_the_user}})

A chain hands its configuration down to the retriever, so one chain serves every user of a server.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import SecretStr

from vecsec_client import Unauthenticated
from vecsec_client.frameworks.identity import revealed

__all__ = ["TENANT_KEY", "TOKEN_KEY", "Caller", "Token", "caller_of", "revealed"]

TOKEN_KEY = "vecsec_token"  # noqa: S105 (a key, not a token)
"""In a run's `configurable`: the caller's token, a `SecretStr` of it, or a function that returns it."""
TENANT_KEY = "vecsec_tenant"
"""In a run's `configurable`: the tenant to search; without it the retriever's, or the store's."""

Token: TypeAlias = str | SecretStr | Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and of which tenant."""

    token: str | Callable[[], Any] = field(repr=False)
    tenant: str | None
    """None for the store's own."""


def caller_of(configurable: Mapping[str, Any], own_token: Token | None, own_tenant: str | None) -> Caller:
    """The caller that a run's configuration names, else the one that the retriever was given.

    A configuration that names a token and has none, such as that of a request without a session, is never taken for
    the retriever's own caller.

    Raises:
        Unauthenticated: if nobody is named.
    """
    token = configurable.get(TOKEN_KEY, own_token)
    if token is None and TOKEN_KEY not in configurable:
        raise Unauthenticated(
            f'no identity: call with config={{"configurable": {{"{TOKEN_KEY}": TOKEN}}}}, '
            "or make the retriever with token=... if all who use it are one caller"
        )
    tenant = configurable.get(TENANT_KEY, own_tenant)
    if tenant is not None and (not isinstance(tenant, str) or not tenant):
        raise ValueError(f"{TENANT_KEY}: must be a tenant's id, not {str(tenant)[:80]!r}")
    return Caller(revealed(token, TOKEN_KEY if TOKEN_KEY in configurable else "token"), tenant)
