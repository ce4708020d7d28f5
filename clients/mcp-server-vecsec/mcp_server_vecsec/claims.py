"""What a token says of itself, unverified: whom it is for and which tenant to ask. The gateway verifies the same token
at every call, so whoever lies here gets nothing."""

import base64
import binascii
import json
from collections.abc import Mapping


def claims_of(token: str) -> Mapping[str, object]:
    """The claims of a JWT; none for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def is_for(claims: Mapping[str, object], resource: str) -> bool:
    """Whether a token is for this resource; a slash at the end does not count."""
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    return any(isinstance(each, str) and each.rstrip("/") == resource.rstrip("/") for each in named)


def tenant_of(claims: Mapping[str, object], claim: str) -> str | None:
    """The tenant that a token names; None if it names none."""
    value = claims.get(claim)
    return value if isinstance(value, str) and value else None


def expiry_of(claims: Mapping[str, object]) -> int | None:
    """When the token ends, in seconds since 1970; None if it does not say."""
    value = claims.get("exp")
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def text_of(claims: Mapping[str, object], claim: str) -> str:
    """A claim that is a text; empty for anything else."""
    value = claims.get(claim)
    return value if isinstance(value, str) else ""
