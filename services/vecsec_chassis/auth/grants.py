"""Grants on the wire: signed by the policy service, verified by the retrieval service (EdDSA JWS)."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import PyJWK

from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import ConfigurationError, InvalidGrant
from vecsec_chassis.domain.identifiers import is_tenant_id, unique_id
from vecsec_chassis.telemetry.metrics import CacheCounter

ISSUER = "vecsec-policy"
AUDIENCE = "vecsec-retrieval"
ALGORITHM = "EdDSA"
CLOCK_SKEW_SECONDS = 2.0
"""Services that share grants run on synchronised clocks; a grant lives for seconds, so the tolerance is small."""

_CACHED_GRANTS = 10_000
_CLAIMS = ["iss", "aud", "sub", "iat", "exp", "jti"]


class GrantSigner:
    """Signs grants; only the policy service has its key."""

    def __init__(self, private_key: Ed25519PrivateKey, key_id: str) -> None:
        self._private_key = private_key
        self.key_id = key_id
        """By which verifiers find the public half."""

    @classmethod
    def from_file(cls, path: Path) -> "GrantSigner":
        """Read an Ed25519 private key in PEM (PKCS#8); its key id is its RFC 7638 thumbprint.

        Raises:
            ConfigurationError: if the file is missing, half-written or another kind of key.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise ConfigurationError(
                f"VECSEC_GRANT_KEY_FILE={path}: {error.strerror}; name a file that this service may read"
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"VECSEC_GRANT_KEY_FILE={path}: no private key in PEM without a password, or half of one; "
                "write the whole file again"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                f"VECSEC_GRANT_KEY_FILE={path}: not an Ed25519 key but {type(key).__name__}; "
                "make one: openssl genpkey -algorithm ed25519"
            )
        return cls(key, thumbprint(key))

    def sign(self, grant: Grant) -> str:
        """The grant as a compact JWS."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": grant.subject,
            "iat": int(time.time()),
            "exp": grant.expires_at,
            "jti": unique_id(),
            "caller_tenant_id": grant.caller_tenant_id,
            "role": grant.role,
            "tenant_id": grant.tenant_id,
            "action": grant.action.value,
            "residual": grant.residual,
            "may_configure": grant.may_configure,
            "policy_version": grant.policy_version,
        }
        return jwt.encode(
            claims, self._private_key, algorithm=ALGORITHM, headers={"kid": self.key_id, "typ": "vecsec-grant"}
        )


class GrantVerifier:
    """Reads grants that the policy service signed; verified ones are cached by their hash until they expire."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys
        self._verified: LRUCache[bytes, _VerifiedGrant] = LRUCache(maxsize=_CACHED_GRANTS)
        self.lookups = CacheCounter()
        """How often a grant had been verified before."""

    async def verify(self, token: str) -> Grant:
        """Check signature, issuer, audience, kind and times, and read the grant.

        Raises:
            InvalidGrant: always with the same public text; the detail is logged.
        """
        if not token:
            raise _refusal("no grant")
        fingerprint = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._verified.get(fingerprint)
        # A key that was withdrawn or replaced takes its grants with it.
        if verified is not None and await self._keys.find(verified.key_id) is verified.key:
            self.lookups.hits += 1
            if verified.grant.expires_at + CLOCK_SKEW_SECONDS > time.time():
                return verified.grant
            self._verified.pop(fingerprint, None)
            raise _refusal("expired")
        self.lookups.misses += 1
        verified = self._verified[fingerprint] = await self._verify(token)
        return verified.grant

    async def _verify(self, token: str) -> "_VerifiedGrant":
        try:
            header = jwt.get_unverified_header(token)
            key_id = header.get("kid")
            key = await self._keys.find(key_id) if isinstance(key_id, str) else None
            if key is None or header.get("typ") != "vecsec-grant":
                raise _refusal("unknown key or another kind of token")
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": _CLAIMS},
            )
            grant = Grant(
                subject=str(claims["sub"]),
                caller_tenant_id=str(claims["caller_tenant_id"]),
                role=str(claims["role"]),
                tenant_id=str(claims["tenant_id"]),
                action=Action(claims["action"]),
                residual=str(claims["residual"]),
                may_configure=claims["may_configure"] is True,
                policy_version=str(claims["policy_version"]),
                expires_at=float(claims["exp"]),
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise _refusal(f"{type(error).__name__}: {error}") from error
        if not is_tenant_id(grant.tenant_id):
            raise _refusal("malformed tenant")
        return _VerifiedGrant(grant, str(key_id), key)


@dataclass(frozen=True, slots=True)
class _VerifiedGrant:
    grant: Grant
    key_id: str
    key: PyJWK


def thumbprint(key: Ed25519PrivateKey) -> str:
    """The RFC 7638 thumbprint of the key's public half: the key id of the JWKS."""
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    canonical = f'{{"crv":"{public["crv"]}","kty":"{public["kty"]}","x":"{public["x"]}"}}'
    return jwt.utils.base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()


def _refusal(detail: str) -> InvalidGrant:
    return InvalidGrant("the grant is missing, expired or not valid; plan access again", detail=detail)
