"""Verification of callers' tokens: signed JWTs of trusted issuers (RFC 7519, by the rules of RFC 8725)."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jwt
from cachetools import LRUCache
from jwt import PyJWK
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vecsec_chassis.auth.keys import KeySource, key_source
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import InvalidToken, StartupError
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.telemetry.metrics import Lookups

ALLOWED_ALGORITHMS = frozenset({"EdDSA", "ES256", "ES384", "RS256", "RS384", "PS256"})
"""Asymmetric algorithms only: with a shared secret every verifier could mint tokens."""

_MAXIMUM_TOKEN_CHARACTERS = 8192
_CACHED_TOKENS = 10_000
_REQUIRED_CLAIMS = ["iss", "aud", "sub", "exp", "iat"]


class TrustedIssuer(BaseModel):
    """One issuer whose tokens are accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(min_length=1)]
    """The exact value of the claim `iss`."""
    audience: Annotated[str, Field(min_length=1)]
    """The value that the claim `aud` must hold."""
    jwks: Annotated[str, Field(min_length=1)]
    """Path (relative to the issuers file) or http(s) URL of its public keys."""
    algorithms: Annotated[list[str], Field(min_length=1)]
    """Signature algorithms it may use."""


class _IssuersFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    issuers: Annotated[list[TrustedIssuer], Field(min_length=1)]


def load_trusted_issuers(path: Path) -> list[TrustedIssuer]:
    """Read the issuers file.

    Raises:
        StartupError: naming the file and what is wrong with it.
    """
    try:
        issuers = _IssuersFile.model_validate(json.loads(path.read_text())).issuers
    except OSError as error:
        raise StartupError(
            f"VECSEC_ISSUERS_FILE={path}: {error.strerror}; name a file that this service may read"
        ) from error
    except ValueError as error:
        raise StartupError(
            f"VECSEC_ISSUERS_FILE={path}: no list of trusted issuers, or half of one: {_in_short(error)}; "
            "correct it, or write the whole file again"
        ) from error
    for issuer in issuers:
        forbidden = sorted(set(issuer.algorithms) - ALLOWED_ALGORITHMS)
        if forbidden:
            raise StartupError(
                f"VECSEC_ISSUERS_FILE={path}: issuer {issuer.issuer!r} lists algorithm {forbidden[0]!r}; "
                f"allowed are {', '.join(sorted(ALLOWED_ALGORITHMS))}"
            )
    return [
        issuer
        if issuer.jwks.startswith(("http://", "https://"))
        else issuer.model_copy(update={"jwks": str(path.parent / issuer.jwks)})
        for issuer in issuers
    ]


def _in_short(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"


class TokenVerifier:
    """Turns a bearer token into an Identity, or refuses it.

    Verified tokens are cached by their hash until they expire, so that a signature is checked once a token.
    """

    def __init__(self, issuers: Sequence[TrustedIssuer], *, clock_skew_seconds: float = 30.0) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys: Mapping[str, KeySource] = {
            issuer.issuer: key_source(issuer.jwks, f"VECSEC_ISSUERS_FILE, keys of {issuer.issuer!r}")
            for issuer in issuers
        }
        self._clock_skew_seconds = clock_skew_seconds
        self._verified: LRUCache[bytes, _VerifiedToken] = LRUCache(maxsize=_CACHED_TOKENS)
        self.lookups = Lookups()
        """How often a token had been verified before."""

    async def verify(self, token: str) -> Identity:
        """Check signature, issuer, audience and times, and read the identity.

        Raises:
            InvalidToken: always with the same public text, so that nothing is learnt about keys; the detail is logged.
        """
        if len(token) > _MAXIMUM_TOKEN_CHARACTERS:
            raise _refusal("longer than 8,192 characters")
        fingerprint = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._verified.get(fingerprint)
        if verified is not None and await self._is_in_force(verified):
            self.lookups.hits += 1
            if verified.identity.expires_at + self._clock_skew_seconds > time.time():
                return verified.identity
            self._verified.pop(fingerprint, None)  # perhaps by another call, while keys were looked at
            raise _refusal("expired since it was verified")
        self.lookups.misses += 1
        self._verified.pop(fingerprint, None)
        verified = self._verified[fingerprint] = await self._verify(token)
        return verified.identity

    async def _is_in_force(self, verified: "_VerifiedToken") -> bool:
        """Whether the issuer still has the very key; one that was withdrawn or replaced takes its tokens with it."""
        return await self._keys[verified.identity.issuer].find(verified.key_id) is verified.key

    async def _verify(self, token: str) -> "_VerifiedToken":
        try:
            header = jwt.get_unverified_header(token)
            claimed_issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError) as error:
            raise _refusal(f"not a JWT: {error}") from error
        issuer = self._issuers.get(claimed_issuer) if isinstance(claimed_issuer, str) else None
        if issuer is None:
            raise _refusal(f"unknown issuer {str(claimed_issuer)[:200]!r}")
        if header.get("alg") not in issuer.algorithms:
            raise _refusal(f"algorithm {str(header.get('alg'))[:40]!r} is not allowed for {issuer.issuer!r}")
        key_id = header.get("kid")
        key = await self._keys[issuer.issuer].find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise _refusal(f"unknown key {str(key_id)[:200]!r} of issuer {issuer.issuer!r}")
        try:
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=issuer.algorithms,
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=self._clock_skew_seconds,
                options={"require": _REQUIRED_CLAIMS},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refusal(f"{type(error).__name__}: {error}") from error
        return _VerifiedToken(_identity(claims), str(key_id), key)


@dataclass(frozen=True, slots=True)
class _VerifiedToken:
    identity: Identity
    key_id: str
    key: PyJWK


def _identity(claims: Mapping[str, Any]) -> Identity:
    subject, tenant_id, role, clearance = (claims.get(name) for name in ("sub", "tenant_id", "role", "clearance"))
    # Printable: line breaks would forge log lines, and half a surrogate pair cannot be passed on as UTF-8.
    if not isinstance(subject, str) or not 0 < len(subject) <= 256 or not subject.isprintable():
        raise _refusal("claim sub must be 1 to 256 printable characters")
    if not isinstance(tenant_id, str) or not is_tenant_id(tenant_id):
        raise _refusal("claim tenant_id is missing or malformed")
    if not isinstance(role, str) or not 0 < len(role) <= 64 or not role.isprintable():
        raise _refusal("claim role must be 1 to 64 printable characters")
    if not isinstance(clearance, str) or clearance not in Sensitivity.__members__:
        raise _refusal("claim clearance must be one of " + ", ".join(Sensitivity.__members__))
    return Identity(
        subject=subject,
        tenant_id=tenant_id,
        role=role,
        clearance=Sensitivity[clearance],
        issuer=str(claims["iss"]),
        expires_at=float(claims["exp"]),
    )


def _refusal(detail: str) -> InvalidToken:
    return InvalidToken("the token is missing, expired or not valid; get a fresh one from your issuer", detail=detail)
