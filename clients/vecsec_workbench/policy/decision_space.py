"""All questions that can make a difference to a policy: every role, clearance, own and foreign tenant, action, and rows
of every sensitivity, with topics in and out of scope, and with each value that some rule compares an attribute with.

Tenants that no rule names differ in their topics alone, so two of them stand for all.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Label, Sensitivity
from vecsec_policy.cedar.ast import AttributePath, Constant
from vecsec_policy.cedar.rule_reading import LABEL_NOT_IN_SCHEMA
from vecsec_policy.folder.principals import Caller, Tenant
from vecsec_policy.in_force.snapshot import PolicySnapshot

SOMEBODY = "somebody"
UNLISTED = "unlisted"
"""A text, and a topic, that no rule and no tenant lists."""

TODAY = 20300115
"""The day on which everybody asks, beside those that rules name; rows have it and the days beside it."""

_MOST_TENANTS_PAIRED = 6
_MOST_ATTRIBUTE_COMBINATIONS = 64

Attributes = tuple[tuple[str, AttributeValue], ...]


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """Who wants to do what in which tenant."""

    caller: Caller
    target: Tenant
    action: Action

    @property
    def is_foreign(self) -> bool:
        """Whether the tenant is not the caller's own."""
        return self.caller.tenant.tenant_id != self.target.tenant_id


@dataclass(frozen=True, slots=True)
class DecisionSpace:
    """The requests, and the labels to decide for each of them."""

    policy: PolicySnapshot
    tenants: Sequence[Tenant]
    """Two that no rule names, and all that some rule does."""
    topics: Sequence[str]
    """Those that rules name."""
    attribute_combinations: Sequence[Attributes]
    unknown_attributes: frozenset[str]
    """Attributes of rows that some rule asks for, but that no row can have under the schema."""
    is_complete: bool
    """Whether every combination is there; else attributes, or the tenants that rules name, vary in pairs only."""

    @classmethod
    def of(cls, policy: PolicySnapshot) -> "DecisionSpace":
        """The space of a policy."""
        values = {name: _fitting(policy, name) for name in sorted(_mentioned_attributes(policy))}
        known = {name: found for name, found in values.items() if found}
        combinations, all_combined = _combinations(known)
        tenants = _tenants(policy)
        return cls(
            policy=policy,
            tenants=tenants,
            topics=sorted(topics_compared(policy)),
            attribute_combinations=combinations,
            unknown_attributes=frozenset(values.keys() - known.keys()),
            is_complete=all_combined and len(tenants) <= _MOST_TENANTS_PAIRED,
        )

    def requests(self) -> Iterator[EntryRequest]:
        """Everybody, wanting everything, in their own tenant and in others."""
        subjects = [SOMEBODY, *_subjects(self.policy)]
        for (own, target), role in itertools.product(self._pairs(), self.policy.roles.values()):
            others = itertools.product(Sensitivity, subjects, _days(self.policy), _group_sets(self.policy))
            for clearance, subject, day, groups in others:
                if clearance <= role.max_clearance:
                    caller = Caller(subject, own, role, clearance, day, groups)
                    yield from (EntryRequest(caller, target, action) for action in Action)

    def labels(self, request: EntryRequest) -> list[Label]:
        """Rows to ask the question about: whole and half-tagged ones, of the tenant asked for and of another."""
        other = self._other(request.target).tenant_id
        return [
            Label(tenant_id, sensitivity, topics, attributes)
            for tenant_id, sensitivity, topics, attributes in itertools.product(
                (request.target.tenant_id, other, ""),
                (*Sensitivity, None),
                self._topic_sets(request),
                self.attribute_combinations,
            )
        ]

    def _pairs(self) -> Iterator[tuple[Tenant, Tenant]]:
        """The caller's tenant and the one asked for."""
        tenants = self.tenants
        if tenants == _unnamed(self.policy)[:2]:  # what holds between these two holds the other way round
            yield from ((tenants[0], target) for target in tenants)
            return
        if len(tenants) <= _MOST_TENANTS_PAIRED:
            yield from itertools.product(tenants, tenants)
            return
        for tenant in tenants:
            yield tenant, tenant
            yield tenant, self._other(tenant)
            yield self._other(tenant), tenant

    def _other(self, tenant: Tenant) -> Tenant:
        others = (each for each in self.tenants if each.tenant_id != tenant.tenant_id)
        return next(others, Tenant("another-tenant", frozenset({UNLISTED})))

    def _topic_sets(self, request: EntryRequest) -> Sequence[frozenset[str]]:
        """In scope, out of scope, both, none, and each topic that a rule names, alone and with one in scope."""
        scope = request.caller.tenant.topics
        named = self.topics
        inside = min(scope)
        outside = min((request.target.topics | {UNLISTED}) - scope)
        alone = [{inside}, {outside}, {inside, outside}, set[str](), *({topic} for topic in named)]
        return tuple({frozenset(topics): None for topics in (*alone, *({inside, topic} for topic in named))})


def topics_compared(policy: PolicySnapshot) -> frozenset[str]:
    """The topics that rules compare with."""
    return frozenset(
        constant for path, constant in _constants(policy) if path[-1] == "topics" and isinstance(constant, str)
    )


def entities_named(policy: PolicySnapshot, kind: str) -> set[str]:
    """The entities of a kind, such as `Tenant`, that rules name."""
    return {name for rule in policy.engine.rules.values() for each, name in rule.mentions.entities if each == kind}


def _constants(policy: PolicySnapshot) -> Iterator[tuple[AttributePath, Constant]]:
    for rule in policy.engine.rules.values():
        yield from rule.mentions.constants


def _tenants(policy: PolicySnapshot) -> Sequence[Tenant]:
    """Two that no rule names, and all that some rule does."""
    named = _named(policy)
    return [*_unnamed(policy)[:2], *(tenant for name, tenant in policy.tenants.items() if name in named)]


def _unnamed(policy: PolicySnapshot) -> Sequence[Tenant]:
    named = _named(policy)
    return [tenant for name, tenant in policy.tenants.items() if name not in named]


def _named(policy: PolicySnapshot) -> set[str]:
    compared = {str(constant) for path, constant in _constants(policy) if path[-1] == "tenant_id"}
    return entities_named(policy, "Tenant") | compared


def _days(policy: PolicySnapshot) -> Sequence[int]:
    """The days on which everybody asks: those that rules name, and those beside them."""
    named = {day for path, day in _constants(policy) if path == ("context", "today") and isinstance(day, int)}
    return sorted({TODAY, *(day + step for day in named for step in (-1, 0, 1))})


def _subjects(policy: PolicySnapshot) -> Sequence[str]:
    """The callers that rules name."""
    named = {unquote(name.partition("/")[2]) for name in entities_named(policy, "Caller")}
    compared = {str(constant) for path, constant in _constants(policy) if path == ("principal", "subject")}
    return sorted((named | compared) - {SOMEBODY})


def _groups(policy: PolicySnapshot) -> tuple[str, ...]:
    """The groups that rules name."""
    named = {str(constant) for path, constant in _constants(policy) if path == ("principal", "groups")}
    listed = {str(constant) for path, constant in _constants(policy) if path == ("principal", "reader_names")}
    return tuple(sorted(named | {name.removeprefix("group:") for name in listed if name.startswith("group:")}))


def _group_sets(policy: PolicySnapshot) -> Sequence[tuple[str, ...]]:
    """What callers belong to: nothing, and all that rules name."""
    return tuple(dict.fromkeys([(), _groups(policy)]))


def _mentioned_attributes(policy: PolicySnapshot) -> set[str]:
    """The attributes of rows, beside the label's own parts, that rules look at."""
    return {
        path[1]
        for rule in policy.engine.rules.values()
        for path in rule.mentions.attributes
        if path[0] == "resource" and len(path) > 1 and path[1] not in OWN_PARTS
    }


def _fitting(policy: PolicySnapshot, name: str) -> list[AttributeValue]:
    """Values of the attribute that the schema admits and that rules can tell apart; empty if it admits none."""
    constants = [constant for path, constant in _constants(policy) if path == ("resource", name)]
    beside = _mentioned_with(policy, name)
    texts = [*dict.fromkeys(text for text in constants if isinstance(text, str)), UNLISTED]
    if ("principal", "subject") in beside:
        texts.append(SOMEBODY)
    if ("principal", "reader_names") in beside:
        texts += [f"user:{SOMEBODY}", *(f"group:{group}" for group in _groups(policy))]
    if ("principal", "groups") in beside:
        texts += _groups(policy)
    if any(path[-1] == "tenant_id" or path[-1] == "topics" for path in beside):
        texts += [tenant.tenant_id for tenant in _tenants(policy)[:2]]
    numbers = {number + step for number in constants if type(number) is int for step in (-1, 0, 1)}
    if policy.engine.depends_on_day:
        numbers |= {day + step for day in _days(policy) for step in (-1, 0, 1)}
    if any(path[-1] in {"clearance", "max_clearance", "sensitivity"} for path in beside):
        numbers |= {0, *Sensitivity}
    numbers = numbers or {0}
    kinds: list[list[AttributeValue]] = [
        list(texts),
        sorted(numbers),
        [False, True],
        [frozenset[str](), *(frozenset({text}) for text in texts)],
    ]
    return [value for kind in kinds if _fits(policy, name, kind[0]) for value in kind]


def _mentioned_with(policy: PolicySnapshot, name: str) -> set[AttributePath]:
    """What rules that look at this attribute of rows look at, too: they may compare the one with the other."""
    return {
        path
        for rule in policy.engine.rules.values()
        if ("resource", name) in rule.mentions.attributes
        for path in rule.mentions.attributes
    }


def _fits(policy: PolicySnapshot, name: str, value: AttributeValue) -> bool:
    tenant, role = next(iter(policy.tenants.values())), next(iter(policy.roles.values()))
    caller = Caller(SOMEBODY, tenant, role, role.max_clearance)
    label = Label(tenant.tenant_id, Sensitivity.PUBLIC, tenant.topics, ((name, value),))
    [verdict] = policy.engine.decide_rows(caller, tenant, Action.READ, [label])
    return LABEL_NOT_IN_SCHEMA not in verdict.rule_ids


def _combinations(values: Mapping[str, Sequence[AttributeValue]]) -> tuple[list[Attributes], bool]:
    """Rows' attributes, absent ones too, and whether that is all: each with each where that is few, else in pairs."""
    choices = {name: (None, *found) for name, found in values.items()}
    if math.prod(map(len, choices.values())) <= _MOST_ATTRIBUTE_COMBINATIONS:
        names = sorted(choices)
        products = itertools.product(*(choices[name] for name in names))
        return [_attributes(dict(zip(names, each, strict=True))) for each in products], True
    pairs = itertools.combinations(sorted(choices), 2)
    found_pairs = {
        _attributes({first: one, second: two}): None
        for first, second in pairs
        for one, two in itertools.product(choices[first], choices[second])
    }
    alone = {_attributes({name: value}): None for name, found in choices.items() for value in found}
    return list(alone | found_pairs), False


def _attributes(values: Mapping[str, AttributeValue | None]) -> Attributes:
    return tuple(sorted((name, value) for name, value in values.items() if value is not None))
