"""Finds what is legal and yet hardly ever meant: rules that never decide, roles that may do nothing, walls with holes.

Nothing is inferred from the text of a rule: the policy decides its whole space of questions, and what it said is looked
at.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Label
from vecsec_policy.cedar.rule_reading import RULE_FAILED
from vecsec_policy.cedar.rules import Rule, Verdict
from vecsec_policy.folder.policy_source import PolicySource
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_workbench.policy.decision_space import DecisionSpace, EntryRequest, topics_compared
from vecsec_workbench.policy.decisions import label_in_words

_PLACED = re.compile(r"(?P<path>.+?):(?P<line>\d+): (?P<message>.*)", re.DOTALL)


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The policy service would not start with this policy."""
    WARNING = "warning"
    """It would, and the policy does something that hardly anybody wants."""


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing to look at."""

    severity: Severity
    kind: str
    """A short name that stays the same, such as "unreachable rule"."""
    path: str
    line: int
    """Counted from 1; 0 where it is about the file, or the folder, as a whole."""
    message: str

    @classmethod
    def at(cls, kind: str, place: str, message: str) -> "LintFinding":
        """A warning at a place that is written as `file:line`, or as a file or folder alone."""
        path, colon, line = place.rpartition(":")
        return cls(Severity.WARNING, kind, path if colon else place, int(line) if colon else 0, message)

    @classmethod
    def from_complaint(cls, complaint: str) -> "LintFinding":
        """What would keep the policy service from starting, as it would say it."""
        placed = _PLACED.fullmatch(complaint)
        if placed is None:
            path, _, message = complaint.partition(": ")
            return cls(Severity.ERROR, "broken policy", path, 0, message)
        return cls(Severity.ERROR, "broken policy", placed["path"], int(placed["line"]), placed["message"])

    @property
    def place(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.line}" if self.line else self.path


WIDENS_TENANT_ISOLATION = "widens tenant isolation"

_MOST_DECISIONS = 600_000
_REQUESTS_SAMPLED = 300
_LABELS_SAMPLED = 40
_LONGEST_ROLE = 64
"""Tokens with longer ones are refused."""
_CROSSED_BY_FLAG = frozenset({Action.READ, Action.CONFIGURE})
"""What the packaged policy lets roles do in other tenants if their flag says so."""


@dataclass(slots=True)
class SpaceDecisions:
    """What the policy said to its whole space."""

    decisions: int = 0
    is_complete: bool = True
    """Whether that was the whole space; of a large one a sample is decided."""
    deciding: set[str] = field(default_factory=set)
    """Rules that determined some decision."""
    entering: set[str] = field(default_factory=set)
    """Roles that may enter some tenant for something."""
    touching: set[str] = field(default_factory=set)
    """Roles that may touch some row."""
    crossing: defaultdict[str, set[Action]] = field(default_factory=lambda: defaultdict(set))
    """What roles may do in tenants that are not their own."""
    holes: dict[tuple[str, str], tuple[EntryRequest, Label]] = field(default_factory=dict)
    """Rows that nobody should touch, by what is wrong with them and by the role that may, with one example."""


def decide_space(space: DecisionSpace) -> SpaceDecisions:
    """Let the policy decide everything."""
    found = SpaceDecisions()
    known: dict[tuple[str, str, str], Sequence[Verdict]] = {}
    for request, labels in _asked(space, found):
        engine = space.policy.engine
        [entry] = engine.decide_entry(request.caller, request.target, [request.action])
        found.decisions += 1
        found.deciding.update(entry.rule_ids)
        if not entry.allowed:
            continue
        found.entering.add(request.caller.role.name)
        if request.is_foreign:
            found.crossing[request.caller.role.name].add(request.action)
        # Callers for whom the same is left of the rules are told the same.
        residual = engine.plan(request.caller, request.target, request.action)
        key = (residual, request.caller.tenant.tenant_id, request.target.tenant_id)
        if key not in known or not found.is_complete:  # each question of a sample has rows of its own
            known[key] = engine.decide_rows(request.caller, request.target, request.action, labels)
        _note_rows(found, request, labels, known[key])
    return found


def _asked(space: DecisionSpace, found: SpaceDecisions) -> Iterator[tuple[EntryRequest, Sequence[Label]]]:
    """The questions and the labels to ask each about; of a space that would take minutes, a sample: always the same."""
    requests = list(space.requests())
    size = len(requests) * len(space.labels(requests[0])) if requests else 0
    if size <= _MOST_DECISIONS:
        yield from ((request, space.labels(request)) for request in requests)
        return
    found.is_complete = False
    chance = random.Random(0)  # noqa: S311 (a sample, not a secret)
    for request in chance.sample(requests, min(len(requests), _REQUESTS_SAMPLED)):
        labels = space.labels(request)
        yield request, chance.sample(labels, min(len(labels), _LABELS_SAMPLED))


def _note_rows(
    found: SpaceDecisions, request: EntryRequest, labels: Sequence[Label], verdicts: Sequence[Verdict]
) -> None:
    role = request.caller.role.name
    found.decisions += len(labels)
    for label, verdict in zip(labels, verdicts, strict=True):
        found.deciding.update(verdict.rule_ids)
        if not verdict.allowed:
            continue
        found.touching.add(role)
        if label.tenant_id not in {request.target.tenant_id, ""}:
            found.holes.setdefault((WIDENS_TENANT_ISOLATION, role), (request, label))
        elif not label.is_complete:
            found.holes.setdefault(("shows half-tagged rows", role), (request, label))


def lint(
    folder: Path, source: PolicySource, policy: PolicySnapshot
) -> tuple[list[LintFinding], DecisionSpace, SpaceDecisions]:
    """The warnings about a policy, the space that they come from, and what the policy said to it."""
    space = DecisionSpace.of(policy)
    found = decide_space(space)
    findings = [
        *_isolation(source, policy, found),
        *_everything_forbidden(str(folder), found),
        *_unusable_roles(source, found),
        *_rules(folder, policy, space, found),
        *_topics(policy),
    ]
    return findings, space, found


def _isolation(source: PolicySource, policy: PolicySnapshot, found: SpaceDecisions) -> Iterator[LintFinding]:
    for role_name, actions in sorted(found.crossing.items()):
        allowed_by_flag = _CROSSED_BY_FLAG if policy.roles[role_name].reads_across_tenants else frozenset[Action]()
        beyond = sorted(actions - allowed_by_flag)
        if beyond:
            yield LintFinding.at(
                WIDENS_TENANT_ISOLATION,
                source.places[f"role/{role_name}"],
                f"role {role_name!r} may {' and '.join(beyond)} in tenants that are not its caller's own, beyond what "
                "its flag `reads_across_tenants` gives (read and configure)",
            )
    for (kind, role_name), (request, label) in sorted(found.holes.items(), key=lambda item: item[0]):
        yield LintFinding.at(
            kind,
            source.places[f"role/{role_name}"],
            f"role {role_name!r} may {request.action} a row labelled {label_in_words(label)} when it asks for "
            f"tenant {request.target.tenant_id!r}",
        )


def _everything_forbidden(place: str, found: SpaceDecisions) -> Iterator[LintFinding]:
    if not found.touching:
        yield LintFinding.at(
            "forbids everything", place, "nobody may touch any row, whatever the role, tenant and label"
        )


def _unusable_roles(source: PolicySource, found: SpaceDecisions) -> Iterator[LintFinding]:
    for name, role in source.roles.items():
        place = source.places[f"role/{name}"]
        if not 0 < len(name) <= _LONGEST_ROLE:
            yield LintFinding.at(
                "unusable role", place, f"no token can name role {name!r}: 1 to {_LONGEST_ROLE} characters"
            )
        elif not role.operations:
            yield LintFinding.at("unusable role", place, f"role {name!r} has no operations, so nobody can use it")
        elif not found.is_complete:
            continue  # a sample does not prove that nothing is allowed
        elif name not in found.entering:
            yield LintFinding.at("unusable role", place, f"role {name!r} may enter no tenant for anything")
        elif name not in found.touching and found.touching:
            yield LintFinding.at("unusable role", place, f"role {name!r} may enter tenants, but never touch a row")


def _rules(folder: Path, policy: PolicySnapshot, space: DecisionSpace, found: SpaceDecisions) -> Iterator[LintFinding]:
    for rule in policy.engine.rules.values():
        asked_for = {path[1] for path in rule.mentions.attributes if path[0] == "resource" and len(path) > 1}
        for name in sorted(asked_for & space.unknown_attributes):
            yield LintFinding.at(
                "unknown attribute",
                rule.source,
                f"rule {rule.rule_id!r} asks for resource.{name}, which no row can have: the schema's Document does "
                "not declare it with a type that labels have",
            )
        is_awaited = rule.rule_id not in found.deciding and found.is_complete and not _waits_for_a_flag(rule, policy)
        if is_awaited:
            extent = f"all {found.decisions:,} questions" if space.is_complete else f"{found.decisions:,} questions"
            yield LintFinding.at("unreachable rule", rule.source, f"rule {rule.rule_id!r} decided none of {extent}")
    if RULE_FAILED in found.deciding:
        yield LintFinding.at(
            "failing rule",
            str(folder),
            "some rule fails while it is evaluated, which refuses the request: ask `has` first",
        )


def _waits_for_a_flag(rule: Rule, policy: PolicySnapshot) -> bool:
    """Whether a rule asks for a flag that no role has: it is there for whoever sets it in the roles file."""
    flags = {path[2] for path in rule.mentions.attributes if path[:2] == ("principal", "role") and len(path) > 2}
    return any(all(getattr(role, flag, None) is False for role in policy.roles.values()) for flag in flags)


def _topics(policy: PolicySnapshot) -> Iterator[LintFinding]:
    listed = {topic for tenant in policy.tenants.values() for topic in tenant.topics}
    for topic in sorted(topics_compared(policy) - listed):
        for rule in policy.engine.rules.values():
            if any(path[-1] == "topics" and constant == topic for path, constant in rule.mentions.constants):
                yield LintFinding.at(
                    "unknown topic",
                    rule.source,
                    f"rule {rule.rule_id!r} speaks of topic {topic!r}, which no tenant has",
                )
