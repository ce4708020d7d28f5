"""Whether a request's token is good: for this server by its own words, and genuine by the gateway's."""

import time
from collections import OrderedDict
from hashlib import sha256

from mcp.server.auth.provider import AccessToken

from mcp_server_vecsec.claims import claims_of, expiry_of, is_for, tenant_of, text_of
from mcp_server_vecsec.settings import HttpSettings
from vecsec_client import (
    AsyncVecSecClient,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RealRetrievalUnavailable,
    Unauthenticated,
    VecSecError,
)

_REMEMBERED_SECONDS = 30.0
"""Every call of a tool has the gateway verify the token again; this only spares asking at each message."""
_MOST_REMEMBERED = 10_000


class GatewayUnreachable(Exception):
    """Nobody can say now whether a token is good."""


class GatewayVerifier:
    """The SDK's `TokenVerifier`. Keys and issuers are the gateway's business, so that they are kept in one place."""

    def __init__(self, connection: AsyncVecSecClient, settings: HttpSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._good_until: OrderedDict[bytes, float] = OrderedDict()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token with what it says, None if it is not good.

        Raises:
            GatewayUnreachable: if that cannot be said.
        """
        claims = claims_of(token)
        tenant = self._settings.tenant or tenant_of(claims, self._settings.tenant_claim)
        if tenant is None or not is_for(claims, self._settings.resource) or not await self._holds(token, tenant):
            return None
        subject = text_of(claims, "sub")
        return AccessToken(
            token=token,
            client_id=text_of(claims, "client_id") or text_of(claims, "azp") or subject,
            scopes=text_of(claims, "scope").split(),
            expires_at=expiry_of(claims),
            resource=self._settings.resource,
            subject=subject,
            claims={"iss": text_of(claims, "iss")},
        )

    async def _holds(self, token: str, tenant: str) -> bool:
        key = sha256(token.encode()).digest()
        now = time.monotonic()
        if self._good_until.get(key, 0.0) > now:
            return True
        try:
            await self._connection.with_token(token, default_tenant=tenant).list_collections()
        except Unauthenticated:
            return False
        except (PermissionDenied, NotFound, InvalidArgument, RealRetrievalUnavailable):
            pass  # of a caller who is known
        except VecSecError as error:
            raise GatewayUnreachable(str(error)) from error
        self._good_until[key] = now + _REMEMBERED_SECONDS
        self._good_until.move_to_end(key)
        if len(self._good_until) > _MOST_REMEMBERED:
            self._good_until.popitem(last=False)
        return True
