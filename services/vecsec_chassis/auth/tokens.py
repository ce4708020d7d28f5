"""Verification of callers' tokens: signed JWTs of trusted issuers (RFC 7519, by the rules of RFC 8725)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vecsec_chassis.auth.keys import key_source
from vecsec_chassis.auth.verification import Signatory, Verifier
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import ConfigurationError, InvalidToken
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.file_watch import demand_content

ALLOWED_ALGORITHMS = frozenset({"EdDSA", "ES256", "ES384", "RS256", "RS384", "PS256"})
"""Asymmetric algorithms only: with a shared secret every verifier could mint tokens."""


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
        ConfigurationError: naming the file and what is wrong with it.
    """
    content = demand_content(path, f"VECSEC_ISSUERS_FILE={path}")
    try:
        issuers = _IssuersFile.model_validate(json.loads(content)).issuers
    except ValueError as error:
        raise ConfigurationError(
            f"VECSEC_ISSUERS_FILE={path}: no list of trusted issuers, or half of one: {_in_short(error)}; "
            "correct it, or write the whole file again"
        ) from error
    for issuer in issuers:
        forbidden = sorted(set(issuer.algorithms) - ALLOWED_ALGORITHMS)
        if forbidden:
            raise ConfigurationError(
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


class TokenVerifier(Verifier[Identity]):
    """Turns a bearer token into an Identity, or refuses it with InvalidToken."""

    maximum_characters = 8192
    required_claims = ("iss", "aud", "sub", "exp", "iat")
    clock_skew_seconds = 30.0

    def __init__(self, issuers: Sequence[TrustedIssuer]) -> None:
        """Read the issuers' keys.

        Raises:
            ConfigurationError: naming the issuer, if they stand in a file that cannot be used.
        """
        super().__init__()
        self._signatories = {
            each.issuer: Signatory(
                each.issuer,
                each.audience,
                each.algorithms,
                key_source(each.jwks, f"VECSEC_ISSUERS_FILE, keys of {each.issuer!r}"),
            )
            for each in issuers
        }

    def _refusal(self, detail: str) -> InvalidToken:
        return InvalidToken(
            "the token is missing, expired or not valid; get a fresh one from your issuer", detail=detail
        )

    def _signatory(self, text: str, header: Mapping[str, Any]) -> Signatory:
        claimed_issuer = jwt.decode(text, options={"verify_signature": False}).get("iss")
        signatory = self._signatories.get(claimed_issuer) if isinstance(claimed_issuer, str) else None
        if signatory is None:
            raise self._refusal(f"unknown issuer {str(claimed_issuer)[:200]!r}")
        return signatory

    def _content(self, claims: Mapping[str, Any]) -> Identity:
        subject, tenant_id, role, clearance = (claims.get(name) for name in ("sub", "tenant_id", "role", "clearance"))
        # Printable: line breaks would forge log lines, and half a surrogate pair cannot be passed on as UTF-8.
        if not isinstance(subject, str) or not 0 < len(subject) <= 256 or not subject.isprintable():
            raise self._refusal("claim sub must be 1 to 256 printable characters")
        if not isinstance(tenant_id, str) or not is_tenant_id(tenant_id):
            raise self._refusal("claim tenant_id is missing or malformed")
        if not isinstance(role, str) or not 0 < len(role) <= 64 or not role.isprintable():
            raise self._refusal("claim role must be 1 to 64 printable characters")
        if not isinstance(clearance, str) or clearance not in Sensitivity.__members__:
            raise self._refusal("claim clearance must be one of " + ", ".join(Sensitivity.__members__))
        return Identity(
            subject=subject,
            tenant_id=tenant_id,
            role=role,
            clearance=Sensitivity[clearance],
            issuer=str(claims["iss"]),
            expires_at=float(claims["exp"]),
        )
