"""Reads a token as the services do, and says each step; only whether keys are fetched is the caller's choice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from vecsec_chassis.auth.actors import read_actors
from vecsec_chassis.auth.claim_rules import ClaimRule, UnusableClaims
from vecsec_chassis.auth.claims import demand_audience, demand_claims, demand_time, moment
from vecsec_chassis.auth.issuers_file import TrustedIssuer
from vecsec_chassis.auth.key_fetching import KeysNotFetched
from vecsec_chassis.auth.key_sets import keys_by_id
from vecsec_chassis.auth.signatures import BadSignedText, PublicKey, SignedText, read
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.cedar.entities import caller_uid, in_cedar
from vecsec_policy.folder.principals import Caller, Role, Tenant

_SHOWN_CHARACTERS = 200


class Outcome(StrEnum):
    """What a step came to."""

    HOLDS = "holds"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    text: str


def inspect_token(text: str, issuers: Sequence[TrustedIssuer], *, now: float, fetch: bool) -> list[Step]:
    """All steps, as far as they can be taken."""
    return list(_steps(text, issuers, now=now, fetch=fetch))


def _steps(text: str, issuers: Sequence[TrustedIssuer], *, now: float, fetch: bool) -> Iterator[Step]:
    if len(text) > TokenVerifier.maximum_characters:
        limit = TokenVerifier.maximum_characters
        yield Step("length", Outcome.REFUSED, f"{len(text):,} characters, more than {limit:,}")
        return
    try:
        signed = read(text)
    except BadSignedText as error:
        yield Step("form", Outcome.REFUSED, f"no signed token: {error}")
        return
    said = ", ".join(f"{name} {signed.header[name]!r}"[:120] for name in ("alg", "kid", "typ") if name in signed.header)
    yield Step("form", Outcome.HOLDS, f"{len(text):,} characters, header {said}")
    claimed = signed.claims.get("iss")
    issuer = next((each for each in issuers if each.issuer == claimed), None)
    if issuer is None:
        known = ", ".join(repr(each.issuer) for each in issuers)
        yield Step("issuer", Outcome.REFUSED, f"{str(claimed)[:_SHOWN_CHARACTERS]!r} is none of {known}")
        return
    yield Step("issuer", Outcome.HOLDS, issuer.issuer)
    yield from _signature_steps(signed, issuer, fetch=fetch)
    yield from _validity_steps(signed.claims, issuer, now)
    yield from _caller_steps(signed.claims, issuer, is_first=issuer is issuers[0])


def _signature_steps(signed: SignedText, issuer: TrustedIssuer, *, fetch: bool) -> Iterator[Step]:
    if signed.algorithm not in issuer.algorithms:
        allowed = ", ".join(issuer.algorithms)
        yield Step("algorithm", Outcome.REFUSED, f"{signed.algorithm[:40]!r} is none of its own: {allowed}")
        return
    yield Step("algorithm", Outcome.HOLDS, signed.algorithm)
    if issuer.key_file is None and not fetch:
        yield Step("signature", Outcome.UNKNOWN, f"its keys are behind {issuer.address.shown}, which was not asked")
        return
    try:
        keys = published_keys(issuer)
    except (OSError, ValueError, KeysNotFetched) as error:
        yield Step("signature", Outcome.UNKNOWN, f"its keys cannot be had: {error}")
        return
    yield _signature_step(signed, keys)


def _signature_step(signed: SignedText, keys: Mapping[str, PublicKey]) -> Step:
    key_id = signed.header.get("kid")
    key = keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        known = ", ".join(repr(each[:60]) for each in list(keys)[:10]) or "none at all"
        return Step("signature", Outcome.REFUSED, f"key {str(key_id)[:80]!r} is none of its keys: {known}")
    try:
        signed.verify(key)
    except BadSignedText as error:
        return Step("signature", Outcome.REFUSED, str(error))
    return Step("signature", Outcome.HOLDS, f"by key {key_id!r}")


def published_keys(issuer: TrustedIssuer) -> dict[str, PublicKey]:
    """An issuer's keys as they are published now.

    Raises:
        OSError, ValueError: if its file cannot be read.
        KeysNotFetched: if its host does not give them.
    """
    return keys_by_id(issuer.address.fetch() if issuer.key_file is None else issuer.key_file.read_bytes())


def _validity_steps(claims: Mapping[str, Any], issuer: TrustedIssuer, now: float) -> Iterator[Step]:
    def times() -> str:
        demand_claims(claims, TokenVerifier.required_claims)
        skew, longest = TokenVerifier.clock_skew_seconds, issuer.bounds.max_lifetime
        demand_time(claims, now=now, skew_seconds=skew, max_lifetime_seconds=longest)
        return ", ".join(f"{name} {_when(claims, name)}" for name in ("iat", "nbf", "exp") if name in claims)

    def audience() -> str:
        demand_audience(claims, issuer.accepted_audiences)
        return str(claims["aud"])

    yield _step("times", times)
    yield _step("audience", audience)


def _when(claims: Mapping[str, Any], name: str) -> str:
    return datetime.fromtimestamp(moment(claims, name) or 0.0, UTC).isoformat(timespec="seconds")


def _caller_steps(claims: Mapping[str, Any], issuer: TrustedIssuer, *, is_first: bool) -> Iterator[Step]:
    mapping = issuer.mapping
    readings: tuple[tuple[str, ClaimRule | None, Callable[[Mapping[str, Any]], object]], ...] = (
        ("subject", mapping.subject, mapping.read_subject),
        ("tenant", mapping.tenant, mapping.read_tenant),
        ("role", mapping.role, mapping.read_role),
        ("clearance", mapping.clearance, mapping.read_clearance),
        ("groups", mapping.groups, mapping.read_groups),
        ("attributes", None, mapping.read_attributes),
        ("actors", None, read_actors),
    )
    is_whole = True
    for name, rule, reading in readings:
        step = _step(name, lambda reading=reading, rule=rule: _reading(reading(claims), rule))  # type: ignore[misc]
        is_whole = is_whole and step.outcome is Outcome.HOLDS
        yield step
    if is_whole:
        identity = mapping.identity(claims, issuer=issuer.issuer, expires_at=0.0, is_first=is_first)
        yield _step("bounds", lambda: _bounded(identity, issuer))
        yield Step("caller", Outcome.HOLDS, f"{name_in_rules(identity)} in rules and records")


def _reading(value: object, rule: ClaimRule | None) -> str:
    if isinstance(value, tuple):
        shown = f"{len(value)}: {', '.join(map(str, value))}" if value else "none"
    else:
        shown = value.name if isinstance(value, Sensitivity) else str(value)
    origin = f" (from {rule.path.expression})" if rule is not None and rule.path is not None else ""
    return shown[:_SHOWN_CHARACTERS] + origin


def name_in_rules(identity: Identity) -> str:
    """How a rule names this very caller."""
    nothing = Role("", frozenset(), Sensitivity.PUBLIC)
    caller = Caller(identity.subject, Tenant(identity.tenant_id, frozenset()), nothing, Sensitivity.PUBLIC)
    return in_cedar(caller_uid(caller))


def _bounded(identity: Identity, issuer: TrustedIssuer) -> str:
    kept = issuer.limits.demand(identity).groups
    dropped = [group for group in identity.groups if group not in set(kept)]
    if not dropped:
        return "within what its issuer may say"
    told = (
        f"within what its issuer may say, but for {len(dropped)} of {len(identity.groups)} groups, which do not count"
    )
    return f"{told}: {', '.join(dropped)[:_SHOWN_CHARACTERS]}"


def _step(name: str, look: Callable[[], str]) -> Step:
    try:
        return Step(name, Outcome.HOLDS, look())
    except (BadSignedText, UnusableClaims) as error:
        return Step(name, Outcome.REFUSED, str(error))
