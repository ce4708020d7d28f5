"""What of an issuers file cannot work, and what works but is hardly ever meant."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vecsec_chassis.auth.claim_mapping import matches
from vecsec_chassis.auth.claim_rules import ClaimRule
from vecsec_chassis.auth.issuers_file import TrustedIssuer, has_url_without_tls, load_trusted_issuers
from vecsec_chassis.auth.key_fetching import KeysNotFetched
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_workbench.issuers.inspection import published_keys

_KEY_TYPES = {"ES": "EC", "Ed": "OKP", "PS": "RSA", "RS": "RSA"}
"""By how the names of algorithms begin."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class IssuerFinding:
    """Something that is wrong with an issuer or, without one, with the file."""

    severity: Severity
    issuer: str
    message: str


@dataclass(frozen=True, slots=True)
class _Policy:
    roles: Collection[str]
    tenants: Collection[str]


def examine(path: Path, policy_folder: Path | None) -> tuple[int, Sequence[IssuerFinding]]:
    """How many issuers there are, and what is wrong."""
    try:
        issuers = load_trusted_issuers(path)
    except ConfigurationError as error:
        return 0, [IssuerFinding(Severity.ERROR, "", str(error))]
    findings: list[IssuerFinding] = []
    policy = None
    if policy_folder is not None:
        try:
            snapshot = load_snapshot(policy_folder)
            policy = _Policy(snapshot.roles.keys(), snapshot.tenants.keys())
        except ConfigurationError as error:
            findings.append(IssuerFinding(Severity.ERROR, "", str(error)))
    for issuer in issuers:
        told = [*_about_keys(issuer), *_about_callers(issuer, policy), *_about_reach(issuer, len(issuers))]
        findings += [IssuerFinding(severity, issuer.issuer, message) for severity, message in told]
    return len(issuers), findings


def _about_keys(issuer: TrustedIssuer) -> Iterator[tuple[Severity, str]]:
    if has_url_without_tls(issuer):
        yield Severity.WARNING, "its keys come without TLS: whoever is on the way can be anybody; use https"
    try:
        keys = published_keys(issuer)
    except OSError as error:
        yield Severity.ERROR, f"its keys cannot be read: {issuer.key_file}: {error.strerror}"
        return
    except (ValueError, KeysNotFetched) as error:
        yield Severity.ERROR, f"its keys cannot be had: {error}"
        return
    if not keys:
        yield Severity.ERROR, "its set of keys is empty, so all its tokens are refused"
        return
    kinds = {key.key_type for key in keys.values()}
    for algorithm in issuer.algorithms:
        if _KEY_TYPES[algorithm[:2]] not in kinds:
            yield Severity.WARNING, f"none of its keys is for {algorithm} (it has {', '.join(sorted(kinds))})"


def _about_callers(issuer: TrustedIssuer, policy: _Policy | None) -> Iterator[tuple[Severity, str]]:
    mapping, bounds = issuer.mapping, issuer.limits
    roles, tenants = possible_values(mapping.role), possible_values(mapping.tenant)
    if roles is not None and bounds.roles is not None and not roles & set(bounds.roles):
        yield Severity.ERROR, f"its mapping gives the roles {_listed(roles)}, of which its bounds allow none"
    if tenants is not None and bounds.tenants is not None:
        inside = {each for each in tenants if any(matches(pattern, each) for pattern in bounds.tenants)}
        if not inside:
            yield Severity.ERROR, f"its mapping gives the tenants {_listed(tenants)}, of which its bounds allow none"
    groups = None if mapping.groups.path is None and mapping.groups.default is None else possible_values(mapping.groups)
    if groups and bounds.groups is not None:
        for group in sorted(groups):
            if group not in bounds.groups:
                yield Severity.WARNING, f"its mapping gives the group {group!r}, which its bounds let nobody say"
    clearances = possible_values(mapping.clearance)
    for clearance in sorted((clearances or set()) - Sensitivity.__members__.keys()):
        yield (
            Severity.ERROR,
            f"its mapping gives clearance {clearance!r}; there is {', '.join(Sensitivity.__members__)}",
        )
    if clearances and not any(
        Sensitivity[each] <= bounds.max_clearance for each in clearances & Sensitivity.__members__.keys()
    ):
        yield Severity.ERROR, f"its mapping gives clearances that are all above {bounds.max_clearance.name}, its bound"
    if policy is not None:
        yield from _about_policy(policy, roles, bounds.roles, tenants, bounds.tenants)


def _about_policy(
    policy: _Policy,
    roles: set[str] | None,
    allowed_roles: Collection[str] | None,
    tenants: set[str] | None,
    patterns: Sequence[str] | None,
) -> Iterator[tuple[Severity, str]]:
    for role in sorted((roles or set()) | set(allowed_roles or ())):
        if role not in policy.roles:
            yield Severity.ERROR, f"the policy knows no role {role!r}; it has {_listed(policy.roles)}"
    for tenant in sorted(tenants or ()):
        if tenant not in policy.tenants:
            yield Severity.WARNING, f"the policy lists no tenant {tenant!r}, so its callers are refused"
    if patterns is not None and not any(matches(each, tenant) for each in patterns for tenant in policy.tenants):
        yield Severity.ERROR, f"its bounds exclude all tenants: none of the policy's is one of {_listed(patterns)}"


def _about_reach(issuer: TrustedIssuer, count: int) -> Iterator[tuple[Severity, str]]:
    if count > 1 and issuer.bounds.tenants is None and possible_values(issuer.mapping.tenant) is None:
        yield Severity.WARNING, "may speak for any tenant, one of several issuers; name its tenants in its bounds"


def possible_values(rule: ClaimRule) -> set[str] | None:
    """All values that a rule can give; None where the token may say anything."""
    given = set() if rule.default is None else {str(rule.default)}
    if rule.path is None:
        return given
    if rule.first_of:
        return given | set(rule.first_of)
    return None if rule.values is None else given | set(rule.values.values())


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
