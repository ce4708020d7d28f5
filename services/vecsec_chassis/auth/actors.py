"""Who acts for the caller (RFC 8693, `act`): a token may say that somebody else asks in the subject's name."""

from collections.abc import Mapping
from typing import Any

from vecsec_chassis.auth.claim_rules import UnusableClaims

_LONGEST_CHAIN = 8
_NAME_CHARACTERS = 256


def read_actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Who acts, and who acted before them, the latest first; with their issuer, where `act` names one.

    They are recorded and give no rights: what a caller may do is the subject's matter alone.

    Raises:
        UnusableClaims: if `act` is there and does not say who.
    """
    actors: list[str] = []
    act = claims.get("act")
    while act is not None:
        if len(actors) == _LONGEST_CHAIN:
            raise UnusableClaims(f"act: more than {_LONGEST_CHAIN} acted one for the other")
        actors.append(_actor(act))
        act = act.get("act")
    return tuple(actors)


def _actor(act: object) -> str:
    if not isinstance(act, Mapping):
        raise UnusableClaims("act: must be an object that says who acts")
    subject, issuer = act.get("sub"), act.get("iss")
    for name, value in (("sub", subject), *((("iss", issuer),) if issuer is not None else ())):
        if not isinstance(value, str) or not 0 < len(value) <= _NAME_CHARACTERS or not value.isprintable():
            raise UnusableClaims(f"act: its {name} must be 1 to {_NAME_CHARACTERS} printable characters")
    return f"{issuer}#{subject}" if issuer is not None else str(subject)
