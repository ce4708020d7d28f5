"""What changes for whom between two policies, over labels that really exist."""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.folder.principals import MOST_GROUPS
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_workbench.policy.decision_space import entities_named
from vecsec_workbench.policy.decisions import AccessRequest, decide, reasons
from vecsec_workbench.policy.labels import ExistingLabel


@dataclass(frozen=True, slots=True)
class CallerGroup:
    """Callers who are alike, what they want, and where."""

    role: str
    caller_tenant_id: str
    action: Action
    tenant_id: str


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One row that changes hands."""

    label: Label
    clearance: Sensitivity
    """What the caller's token claims."""
    before: str
    """What was said, and by which rules."""
    after: str


@dataclass(slots=True)
class AccessDifference:
    """What changes for a group."""

    gained: dict[Label, int] = field(default_factory=dict)
    """Labels whose rows some of the group may touch from now on, and how many rows bear each."""
    lost: dict[Label, int] = field(default_factory=dict)
    may_enter: tuple[bool, bool] | None = None
    """Whether they may enter the tenant, before and after; None if that is the same."""
    examples: dict[str, ExampleRow] = field(default_factory=dict)
    """One row by `gain` and one by `loss`."""

    @property
    def gained_rows(self) -> int:
        """How many rows the group gains."""
        return sum(self.gained.values())

    @property
    def lost_rows(self) -> int:
        """How many rows the group loses."""
        return sum(self.lost.values())

    @property
    def widens(self) -> bool:
        """Whether anybody may do more than before."""
        return bool(self.gained) or self.may_enter == (False, True)

    @property
    def narrows(self) -> bool:
        """Whether anybody may do less than before."""
        return bool(self.lost) or self.may_enter == (True, False)


def compare(
    old: PolicySnapshot, new: PolicySnapshot, existing: Iterable[ExistingLabel], subjects: Sequence[str]
) -> Mapping[CallerGroup, AccessDifference]:
    """What changes, for each group for which anything does. Rows are counted once a group, whatever the clearance."""
    now = time.time()
    rows: dict[str, Counter[Label]] = {}
    for each in existing:
        rows.setdefault(each.label.tenant_id, Counter())[each.label] += each.document_count
    found: dict[CallerGroup, AccessDifference] = {}
    for tenant_id, counts in rows.items():
        for caller, action, groups in itertools.product(
            _callers(old, new, sorted(rows), tenant_id, subjects), Action, _groups(counts)
        ):
            identity = replace(caller, groups=groups)
            _note(found, old, new, AccessRequest(identity, tenant_id, action, now), counts)
    return found


def compare_recorded(
    old: PolicySnapshot, new: PolicySnapshot, recorded: Iterable[RecordedDecision]
) -> Mapping[CallerGroup, AccessDifference]:
    """What changes for those who really called, for what they asked; a row counts each time that it was decided."""
    found: dict[CallerGroup, AccessDifference] = {}
    for each in recorded:
        counts = Counter({rows.label: rows.row_count for rows in each.rows})
        _note(found, old, new, AccessRequest.of(each), counts, each_time=True)
    return found


def _note(
    found: dict[CallerGroup, AccessDifference],
    old: PolicySnapshot,
    new: PolicySnapshot,
    request: AccessRequest,
    counts: Counter[Label],
    *,
    each_time: bool = False,
) -> None:
    """Note what the policies decide otherwise. The same rows count once, or each time that they are met."""
    before, after = (decide(policy, request, list(counts)) for policy in (old, new))
    caller = request.identity
    group = CallerGroup(caller.role, caller.tenant_id, request.action, request.tenant_id)
    if before.entry.allowed != after.entry.allowed:
        found.setdefault(group, AccessDifference()).may_enter = (before.entry.allowed, after.entry.allowed)
    for (label, count), then, now in zip(counts.items(), before.rows, after.rows, strict=True):
        if then.allowed != now.allowed:
            difference = found.setdefault(group, AccessDifference())
            rows = difference.gained if now.allowed else difference.lost
            rows[label] = count + (rows.get(label, 0) if each_time else 0)
            example = ExampleRow(label, caller.clearance, _why(then), _why(now))
            difference.examples.setdefault("gain" if now.allowed else "loss", example)


def _why(verdict: Verdict) -> str:
    return f"{'allowed' if verdict.allowed else 'refused'} ({reasons(verdict)})"


def _callers(
    old: PolicySnapshot, new: PolicySnapshot, labelled: Sequence[str], tenant_id: str, subjects: Sequence[str]
) -> Iterator[Identity]:
    """Every role of either policy at every clearance, in the tenant itself and in the others that count."""
    roles = {**old.roles, **new.roles}
    named = entities_named(old, "Tenant") | entities_named(new, "Tenant")
    # One more tenant stands for those that are neither labelled nor named.
    others = (each for each in {**old.tenants, **new.tenants} if each != tenant_id)
    homes = sorted({tenant_id, *labelled, *named, *itertools.islice(others, 1)})
    for home, role, clearance, subject in itertools.product(homes, roles.values(), Sensitivity, subjects):
        highest = max(policy.roles[role.name].max_clearance for policy in (old, new) if role.name in policy.roles)
        if clearance <= highest:  # to claim more makes no difference
            yield Identity(subject, home, role.name, clearance, "", 0.0)


def _groups(labels: Iterable[Label]) -> list[tuple[str, ...]]:
    """What callers belong to: nothing, and the groups that rows name as readers, as many as can be judged."""
    named = {
        name.removeprefix("group:")
        for label in labels
        for name in _texts(dict(label.attributes).get(READERS))
        if name.startswith("group:")
    }
    return [(), tuple(sorted(named)[:MOST_GROUPS])] if named else [()]


def _texts(value: AttributeValue | None) -> frozenset[str]:
    return value if isinstance(value, frozenset) else frozenset()
