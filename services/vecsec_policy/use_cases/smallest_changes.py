"""The smallest change that would have allowed what was refused.

Single changes are tried, and pairs of them: of the caller's token, of the row's label, and of the topic scope of the
caller's tenant. Each is verified by deciding again, so a remedy is never a guess. The values that are tried for an
attribute are those that rules compare it with: no other can make a difference. Rules that name other tenants have no
say in that, for their constants may be these tenants' matter.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.folder.principals import Caller, Role, Tenant
from vecsec_policy.in_force.evaluation import TenantAccess
from vecsec_policy.use_cases.deciding_values import as_text
from vecsec_policy.use_cases.rules_of_others import names_others

_MOST_ALTERNATIVES = 3
_SMALL = 4.0
"""The cost of changes that give no caller another role."""
_SECOND = 1.0
"""What it costs that two changes are needed."""
_MOST_ROLES = 12
_MOST_VALUES = 8
"""Of one attribute."""
_MOST_LABEL_CHANGES = 48
_MOST_PAIRS = 2_000
"""All of them take a quarter of a second, in pieces."""
_CALLER_ORDER = (
    "principal.tenant",
    "principal.role",
    "principal.clearance",
    "principal.tenant.topics",
    "principal.groups",
)
"""Which change comes first in a pair: the role bounds the clearance, and topics are those of the new tenant."""
_LABELS_AT_ONCE = 50
"""Deciding a label takes about 0.1 ms, during which nothing else is served."""


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """One thing that could be otherwise."""

    subject: str
    """What, as rules write it: `principal.clearance`."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SmallestChanges:
    """What would have allowed it."""

    found: Sequence[Sequence[AttributeChange]]
    """The smallest first, no two of them of the same things; each is enough by itself. Empty if no change alone and no
    two together would do."""
    tried: int
    """How many combinations were decided."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """A caller or a label that differs in `changes` from the one that was refused."""

    changes: tuple[AttributeChange, ...]
    cost: float
    """Small for changes that give little away: a label is put right before a caller gets more rights."""
    caller: Caller
    label: Label | None


async def find_smallest_changes(access: TenantAccess, label: Label | None) -> SmallestChanges:
    """The smallest changes after which the caller could touch the row or, where no row is meant, could enter the
    tenant; lets others run in between."""
    nothing = _Variant((), 0.0, access.caller, label)
    callers = list(_other_callers(access, nothing))
    labels = list(_other_labels(access, nothing))
    singles = [*callers, *labels]
    found = await _sufficient(access, singles)
    pairs: list[_Variant] = []
    if not any(variant.cost <= _SMALL for variant in found):  # two small changes may be less than one great one
        pairs = list(itertools.islice(_pairs(access, callers, labels), _MOST_PAIRS))
        found += await _sufficient(access, pairs)
    smallest: dict[tuple[str, ...], _Variant] = {}
    for variant in sorted(found, key=lambda variant: variant.cost):
        smallest.setdefault(tuple(change.subject for change in variant.changes), variant)
    best = itertools.islice(smallest.values(), _MOST_ALTERNATIVES)
    return SmallestChanges(tuple(variant.changes for variant in best), len(singles) + len(pairs))


async def _sufficient(access: TenantAccess, variants: Iterable[_Variant]) -> list[_Variant]:
    """Those variants that would be allowed."""
    sufficient: list[_Variant] = []
    by_caller: dict[Caller, list[_Variant]] = {}
    for variant in variants:
        by_caller.setdefault(variant.caller, []).append(variant)
    for caller, mine in by_caller.items():
        await asyncio.sleep(0)
        target = caller.tenant if caller.tenant.tenant_id == access.target.tenant_id else access.target
        engine = access.policy.engine
        [entry] = engine.decide_entry(caller, target, [access.action])
        if not entry.allowed:
            continue
        sufficient.extend(variant for variant in mine if variant.label is None)
        about_rows = [(variant, variant.label) for variant in mine if variant.label is not None]
        for start in range(0, len(about_rows), _LABELS_AT_ONCE):
            await asyncio.sleep(0)
            batch = about_rows[start : start + _LABELS_AT_ONCE]
            verdicts = engine.decide_rows(caller, target, access.action, [label for _, label in batch])
            sufficient.extend(variant for (variant, _), verdict in zip(batch, verdicts, strict=True) if verdict.allowed)
    return sufficient


def _pairs(access: TenantAccess, callers: Sequence[_Variant], labels: Sequence[_Variant]) -> Iterator[_Variant]:
    """Two changes of different things, together."""
    for caller, label in itertools.product(callers, labels):
        yield _combined(caller, replace(label, caller=caller.caller))
    for first in labels:
        for second in _other_labels(access, first):
            if second.changes[0].subject > first.changes[0].subject:
                yield _combined(first, second)
    for first in callers:
        for second in _other_callers(access, first):
            if _CALLER_ORDER.index(second.changes[0].subject) > _CALLER_ORDER.index(first.changes[0].subject):
                yield _combined(first, second)


def _combined(first: _Variant, second: _Variant) -> _Variant:
    """The second variant, which was made from the first, with the changes of both."""
    return replace(second, changes=(*first.changes, *second.changes), cost=first.cost + second.cost + _SECOND)


def _other_callers(access: TenantAccess, start: _Variant) -> Iterator[_Variant]:
    """Other tokens and a wider topic scope, one change each."""
    caller, claimed = start.caller, access.identity.clearance

    def changed(subject: str, before: object, after: object, cost: float, **parts: object) -> _Variant:
        change = AttributeChange(subject, as_text(before), as_text(after))
        return _Variant((change,), cost, replace(caller, **parts), start.label)  # type: ignore[arg-type]

    for clearance in Sensitivity:
        if clearance != caller.clearance and clearance <= caller.role.max_clearance:
            cost = 3 + abs(clearance - caller.clearance) / 10
            yield changed("principal.clearance", caller.clearance, clearance, cost, clearance=clearance)
    for cost, role in enumerate(_other_roles(access.policy.roles, caller.role), start=5):
        effective = min(max(claimed, caller.clearance), role.max_clearance)
        yield changed("principal.role", caller.role.name, role.name, cost, role=role, clearance=effective)
    if caller.tenant.tenant_id != access.target.tenant_id:
        own, wanted = caller.tenant.tenant_id, access.target.tenant_id
        yield changed("principal.tenant", own, wanted, 4, tenant=access.target)
    missing = (start.label.topics if start.label else frozenset[str]()) - caller.tenant.topics
    if missing:
        wider = Tenant(caller.tenant.tenant_id, caller.tenant.topics | missing)
        yield changed("principal.tenant.topics", caller.tenant.topics, wider.topics, 4, tenant=wider)
    for group in _groups_named(start.label, caller):
        yield changed(
            "principal.groups", "as they are", f"and {group}", 1.5, groups=tuple(sorted((*caller.groups, group)))
        )


def _groups_named(label: Label | None, caller: Caller) -> list[str]:
    """The groups that the row names as readers and that the caller does not belong to."""
    readers = dict(label.attributes).get(READERS) if label is not None else None
    names = sorted(readers) if isinstance(readers, frozenset) else []
    groups = [name.removeprefix("group:") for name in names if name.startswith("group:")]
    return [group for group in groups if group not in caller.groups][:_MOST_VALUES]


def _other_roles(roles: Mapping[str, Role], own: Role) -> Sequence[Role]:
    """Those with the fewest rights first."""

    def rights(role: Role) -> int:
        flags = role.reads_across_tenants + role.ignores_topic_scope + role.ignores_clearance + role.ignores_readers
        return role.max_clearance + len(role.operations) + 4 * flags

    return sorted((role for role in roles.values() if role.name != own.name), key=rights)[:_MOST_ROLES]


def _other_labels(access: TenantAccess, start: _Variant) -> Iterator[_Variant]:
    """Other labels of the row, one change each."""
    if start.label is None:
        return iter(())
    return itertools.islice(_label_changes(access, start, start.label), _MOST_LABEL_CHANGES)


def _label_changes(access: TenantAccess, start: _Variant, label: Label) -> Iterator[_Variant]:
    def changed(subject: str, before: object, after: object, cost: float, **parts: object) -> _Variant:
        change = AttributeChange(subject, as_text(before), as_text(after))
        return _Variant((change,), cost, start.caller, replace(label, **parts))  # type: ignore[arg-type]

    if label.tenant_id != access.target.tenant_id:
        wanted = access.target.tenant_id
        yield changed("resource.tenant_id", label.tenant_id or None, wanted, 2, tenant_id=wanted)
    for sensitivity in Sensitivity:
        if sensitivity != label.sensitivity:
            distance = abs(sensitivity - (label.sensitivity or Sensitivity.SECRET))
            yield changed(
                "resource.sensitivity", label.sensitivity, sensitivity, 2 + distance / 10, sensitivity=sensitivity
            )
    attributes = dict(label.attributes)
    for name, value in _other_attributes(access, attributes):
        rest = {key: each for key, each in attributes.items() if key != name}
        changed_attributes = canonical_attributes(rest if value is None else {**rest, name: value})
        # Without its readers a row is open to all: that is hardly what is wanted.
        cost = 3.5 if name == READERS and value is None else 1
        yield changed(f"resource.{name}", attributes.get(name), value, cost, attributes=changed_attributes)
    for cost, topics in _other_topics(access, label):
        yield changed("resource.topics", label.topics or None, topics, cost, topics=topics)


def _other_topics(access: TenantAccess, label: Label) -> Iterator[tuple[float, frozenset[str]]]:
    """Fewer topics: those in scope alone, or all but one; or one that is in scope, where none is."""
    scope = access.caller.tenant.topics
    inside = label.topics & scope
    if inside and inside != label.topics:
        yield 2.0, inside
    if len(label.topics) > 1:
        yield from ((2.1, label.topics - {topic}) for topic in sorted(label.topics))
    if not inside:
        yield 2.2, frozenset({min(scope)})
    named = [topic for topic in _constants(access, "topics") if isinstance(topic, str)]
    yield from ((2.3, label.topics | {topic}) for topic in named[:_MOST_VALUES])


def _other_attributes(
    access: TenantAccess, attributes: Mapping[str, AttributeValue]
) -> Iterator[tuple[str, AttributeValue | None]]:
    """Each attribute that a rule asks for: without it, with what rules compare it with, and with the caller's own."""
    asked_for = {
        path[1]
        for rule in access.policy.engine.rules.values()
        for path in rule.mentions.attributes
        if path[0] == "resource" and len(path) > 1
    }
    for name in sorted(asked_for - {"tenant_id", "sensitivity", "topics"}):
        if name in attributes:
            yield name, None
        caller = access.caller
        own: tuple[str | int, ...] = (
            (f"user:{caller.subject}",) if name == READERS else (caller.subject, caller.tenant.tenant_id)
        )
        if caller.today is not None:
            own = (*own, caller.today)
        constants = (value for constant in _constants(access, name) for value in _neighbouring_values(constant))
        values = (_of_same_type(attributes.get(name), value) for value in (*own, *constants))
        fresh = [value for value in dict.fromkeys(values) if value != attributes.get(name)]
        yield from ((name, value) for value in fresh[:_MOST_VALUES])


def _of_same_type(present: AttributeValue | None, value: str | int | bool) -> AttributeValue:
    """A set gets the value as one more member."""
    return present | {value} if isinstance(present, frozenset) and isinstance(value, str) else value


def _constants(access: TenantAccess, name: str) -> list[str | int | bool]:
    found = {
        constant
        for rule in access.policy.engine.rules.values()
        for path, constant in rule.mentions.constants
        if path == ("resource", name) and not names_others(rule, access)
    }
    return sorted(found, key=str)


def _neighbouring_values(constant: str | int | bool) -> Sequence[str | int | bool]:
    """A number has neighbours on the other side of a comparison, and true and false have each other."""
    if isinstance(constant, bool):
        return (True, False)
    return (constant, constant - 1, constant + 1) if isinstance(constant, int) else (constant,)
