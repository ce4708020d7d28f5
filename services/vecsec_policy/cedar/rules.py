"""What a rule is to people and counters, and what a decision is."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from vecsec_chassis.domain.access import ViolationType
from vecsec_policy.cedar.ast import Mentions

COUNTED_BY_RULES = (
    ViolationType.CROSS_TENANT,
    ViolationType.DOCUMENT_TENANT,
    ViolationType.CLEARANCE,
    ViolationType.TOPIC,
)
"""The violations that a rule's @violation may name, the gravest first: where several rules refuse a row, the gravest
is its violation. The other types are found by comparing, not by a rule."""


class Effect(StrEnum):
    """What a rule does where it applies."""

    PERMIT = "permit"
    FORBID = "forbid"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy files."""

    rule_id: str
    effect: Effect
    description: str
    violation: ViolationType | None
    text: str
    """The rule in Cedar, as its author wrote it."""
    source: str
    """Where it stands: `file:line`."""
    mentions: Mentions
    """What it looks at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rules' word on one question."""

    allowed: bool
    rule_ids: tuple[str, ...]
    """The rules that decided, sorted; empty if it was refused because no rule permits it."""
    violation: ViolationType | None = None
    """What is counted; None for what is allowed and for plain refusals."""


def gravest(violations: Iterable[ViolationType | None]) -> ViolationType | None:
    """The violation to count where several rules refused."""
    found = set(violations)
    return next((violation for violation in COUNTED_BY_RULES if violation in found), None)
