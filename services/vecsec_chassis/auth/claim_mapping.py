"""Who calls, from verified claims: by the rules of the token's issuer, and within what it may say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vecsec_chassis.auth.actors import read_actors
from vecsec_chassis.auth.caller_names import is_reserved, prefix_of
from vecsec_chassis.auth.claim_rules import ClaimRule, Path, UnusableClaims
from vecsec_chassis.domain.access import AttributeValue, Identity
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.readers import LONGEST_GROUP_NAME

MAXIMUM_GROUPS = 1_000
ISSUER_ATTRIBUTE = "issuer"
"""What every caller has besides what the mapping reads, for rules of schemas that declare it."""
MOST_GROUP_STARS = 50
"""In all patterns of groups together, so 50 patterns at most: the worst of them take some 50 ms for a caller of 1,000
groups of the longest names, usual ones 2."""
ANY = "*"
"""Stands for any characters in a pattern."""
_TEXT_CHARACTERS = 256
_ROLE_CHARACTERS = 64
_LIST_ENTRIES = 1_000


def _own(name: str) -> ClaimRule:
    return ClaimRule(Path(name), takes_lists=False)


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Where each fact about a caller comes from; by default from claims of our own names."""

    subject: ClaimRule = field(default_factory=lambda: _own("sub"))
    tenant: ClaimRule = field(default_factory=lambda: _own("tenant_id"))
    role: ClaimRule = field(default_factory=lambda: _own("role"))
    clearance: ClaimRule = field(default_factory=lambda: _own("clearance"))
    groups: ClaimRule = field(default_factory=lambda: ClaimRule(Path("groups")))
    attributes: Mapping[str, ClaimRule] = field(default_factory=dict)

    def read_subject(self, claims: Mapping[str, Any]) -> str:
        """Who.

        Raises:
            UnusableClaims: if the claims do not say it as they must, as all methods of this class.
        """
        subject = _printable("subject", self.subject.one("subject", claims), _TEXT_CHARACTERS)
        if is_reserved(subject):
            raise UnusableClaims(f"subject: {subject[:80]!r} looks like a caller of another issuer")
        return subject

    def read_tenant(self, claims: Mapping[str, Any]) -> str:
        """The id of their tenant."""
        tenant_id = self.tenant.one("tenant_id", claims)
        if not is_tenant_id(tenant_id):
            raise UnusableClaims(f"tenant_id: {tenant_id[:80]!r} cannot be a tenant's id")
        return tenant_id

    def read_role(self, claims: Mapping[str, Any]) -> str:
        """The name of their role."""
        return _printable("role", self.role.one("role", claims), _ROLE_CHARACTERS)

    def read_clearance(self, claims: Mapping[str, Any]) -> Sensitivity:
        """Their clearance."""
        clearance = self.clearance.one("clearance", claims)
        if clearance not in Sensitivity.__members__:
            raise UnusableClaims(f"clearance: {clearance[:40]!r} is none of {', '.join(Sensitivity.__members__)}")
        return Sensitivity[clearance]

    def read_groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Their groups, sorted, each once."""
        groups = self.groups.several("groups", claims)
        if not groups and self.groups.default is not None:
            groups = [str(self.groups.default)]
        if len(groups) > MAXIMUM_GROUPS:
            raise UnusableClaims(f"groups: {len(groups):,} of them, more than {MAXIMUM_GROUPS:,}")
        return tuple(sorted(_printable("a group", each, LONGEST_GROUP_NAME) for each in groups))

    def read_attributes(self, claims: Mapping[str, Any]) -> tuple[tuple[str, AttributeValue], ...]:
        """What else is said of them, by name; what nothing is said of is left out."""
        found = ((name, rule.any_value(name, claims)) for name, rule in sorted(self.attributes.items()))
        return tuple((name, _bounded(name, value)) for name, value in found if value is not None)

    def identity(self, claims: Mapping[str, Any], *, issuer: str, expires_at: float, is_first: bool = True) -> Identity:
        """Who calls; `is_first` says whether the issuer is the first of its file (see `caller_names`)."""
        return Identity(
            subject=prefix_of(issuer, is_first=is_first) + self.read_subject(claims),
            tenant_id=self.read_tenant(claims),
            role=self.read_role(claims),
            clearance=self.read_clearance(claims),
            issuer=issuer,
            expires_at=expires_at,
            groups=self.read_groups(claims),
            attributes=tuple(sorted([*self.read_attributes(claims), (ISSUER_ATTRIBUTE, issuer)])),
            actors=read_actors(claims),
        )


@dataclass(frozen=True, slots=True)
class GroupBound:
    """Which groups an issuer may say; sorted out once, for it is asked a thousand times a caller."""

    names: frozenset[str]
    beginnings: tuple[str, ...]
    """Of the patterns with one star, and that at the end."""
    endings: tuple[str, ...]
    """Of those with one at the beginning."""
    other_patterns: tuple[Sequence[str], ...]
    """Each as what stands between its stars."""

    @classmethod
    def of(cls, said: Collection[str]) -> "GroupBound":
        """The bound of names and patterns as they are written."""
        patterns = [tuple(each.split(ANY)) for each in said if ANY in each]
        beginnings = tuple(parts[0] for parts in patterns if len(parts) == 2 and not parts[1])
        endings = tuple(parts[1] for parts in patterns if len(parts) == 2 and not parts[0])
        others = tuple(parts for parts in patterns if len(parts) > 2 or all(parts))
        return cls(frozenset(each for each in said if ANY not in each), beginnings, endings, others)

    def __contains__(self, group: str) -> bool:
        if group in self.names or group.startswith(self.beginnings) or group.endswith(self.endings):
            return True
        return any(
            _fits(parts, group)
            for parts in self.other_patterns
            if group.startswith(parts[0]) and group.endswith(parts[-1])
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """For whom an issuer may speak. What lies outside is refused, never lowered: the mapping would be wrong. Groups
    outside are passed over: identity providers put all into a token that somebody is in."""

    tenants: Sequence[str] | None = None
    """Ids, or patterns of ids in which `*` stands for any characters; None for any."""
    roles: Collection[str] | None = None
    """None for any."""
    max_clearance: Sensitivity = Sensitivity.SECRET
    groups: GroupBound | None = None
    """None for any."""

    def demand(self, identity: Identity) -> Identity:
        """The identity, if it lies within, without the groups that do not.

        Raises:
            UnusableClaims: naming the bound that it breaks.
        """
        if self.tenants is not None and not any(matches(each, identity.tenant_id) for each in self.tenants):
            raise UnusableClaims(f"{identity.issuer!r} may not speak for tenant {identity.tenant_id!r}")
        if self.roles is not None and identity.role not in self.roles:
            raise UnusableClaims(f"{identity.issuer!r} may not give the role {identity.role!r}")
        if identity.clearance > self.max_clearance:
            raise UnusableClaims(
                f"{identity.issuer!r} may not give clearance {identity.clearance.name}, "
                f"at most {self.max_clearance.name}"
            )
        if self.groups is None or not identity.groups:
            return identity
        kept = tuple(group for group in identity.groups if group in self.groups)
        return identity if len(kept) == len(identity.groups) else replace(identity, groups=kept)


def matches(pattern: str, name: str) -> bool:
    """Whether a tenant or a group is one of a pattern's, in which `*` stands for any characters. Takes time by the
    length of both, whatever they are, which a regular expression does not promise."""
    return _fits(pattern.split(ANY), name)


def _fits(parts: Sequence[str], name: str) -> bool:
    """Whether a name is what stands between a pattern's stars, with anything in their places."""
    first, *others = parts
    if not others:
        return name == first
    *inner, last = others
    if not name.startswith(first):
        return False
    place = len(first)
    for part in inner:
        found = name.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(name) - place >= len(last) and name.endswith(last)


def _printable(name: str, text: str, characters: int) -> str:
    """Line breaks would forge log lines, and half a surrogate pair cannot be passed on as UTF-8."""
    if not 0 < len(text) <= characters or not text.isprintable():
        raise UnusableClaims(f"{name} must be 1 to {characters} printable characters")
    return text


def _bounded(name: str, value: AttributeValue) -> AttributeValue:
    texts = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
    if len(texts) > _LIST_ENTRIES:
        raise UnusableClaims(f"{name}: a list of {len(texts):,}, more than {_LIST_ENTRIES:,}")
    for each in texts:
        _printable(name, each, _TEXT_CHARACTERS)
    return value
