"""What every signed text must say besides its own matter: by whom, for whom, and from when until when (RFC 7519)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vecsec_chassis.auth.signatures import BadSignedText

_LAST_SECOND = 253_402_300_799
"""Of the year 9999. Whatever lies beyond was not meant as a time."""


def moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a time, in seconds since the epoch; None where it is not there.

    Raises:
        BadSignedText: if it is no number between the epoch and the year 9999.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadSignedText(f"claim {name} must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= _LAST_SECOND:
        raise BadSignedText(f"claim {name} must lie between 1970 and the year 9999")
    return float(value)


def demand_claims(claims: Mapping[str, Any], names: Sequence[str]) -> None:
    """See that claims are there.

    Raises:
        BadSignedText: naming the first that is not.
    """
    for name in names:
        if claims.get(name) is None:
            raise BadSignedText(f"claim {name} is missing")
    for name in ("sub", "jti"):
        if not isinstance(claims.get(name, ""), str):
            raise BadSignedText(f"claim {name} must be a text")


def demand_time(
    claims: Mapping[str, Any], *, now: float, skew_seconds: float, max_lifetime_seconds: float | None
) -> None:
    """See that it is time: issued, valid, not expired, and not valid for longer than anything may be.

    Raises:
        BadSignedText: if not.
    """
    issued_at, not_before, expires_at = (moment(claims, name) for name in ("iat", "nbf", "exp"))
    for name, begins_at in (("iat", issued_at), ("nbf", not_before)):
        if begins_at is not None and begins_at > now + skew_seconds:
            raise BadSignedText(f"not yet valid: {name} is {begins_at - now:.0f} s ahead of this machine's clock")
    if expires_at is None:
        return
    if expires_at <= now - skew_seconds:
        raise BadSignedText(f"expired {now - expires_at:.0f} s ago by this machine's clock")
    if max_lifetime_seconds is not None and issued_at is not None and expires_at - issued_at > max_lifetime_seconds:
        lifetime = expires_at - issued_at
        raise BadSignedText(f"valid for {lifetime:.0f} s, of which its issuer may give {max_lifetime_seconds:.0f} s")


def demand_audience(claims: Mapping[str, Any], accepted: Collection[str]) -> None:
    """See that one of these audiences is meant.

    Raises:
        BadSignedText: if none is.
    """
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise BadSignedText("claim aud must be a text or a list of texts")
    if not set(audiences) & set(accepted):
        raise BadSignedText(f"for another audience than {', '.join(map(repr, accepted))}")
