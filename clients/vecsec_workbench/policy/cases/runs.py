"""Decides the cases of policy tests and compares with what was expected."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf import json_format

from vecsec.policy.v1 import policy_test_suite_pb2 as pb
from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.access import AttributeValue as CallerAttributeValue
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import decide_rows
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_policy.in_force.utc_day import start_of
from vecsec_workbench.policy.cases.files import SourcedCase
from vecsec_workbench.policy.decisions import AccessRequest, enter

_UNTAGGED = "NONE"
_NOT_COUNTED = "none"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What the policy said otherwise than expected about one combination."""

    asked: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went."""

    sourced: SourcedCase
    combinations: int
    differences: Sequence[Mismatch]
    refusal: str = ""
    """Why the case could not be decided at all; empty if it could."""

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.differences and not self.refusal


def run_case(policy: PolicySnapshot, sourced: SourcedCase) -> CaseResult:
    """Decide every combination of a case."""
    case, count = sourced.case, 0
    differences: list[Mismatch] = []
    try:
        for request, labels in _batches(case):
            for label, verdict in zip(labels, _verdicts(policy, request, labels), strict=True):
                count += 1
                if not _is_expected(case.expect, verdict):
                    asked = request.in_words(label, with_clearance=True)
                    differences.append(Mismatch(asked, _expected(case.expect), _actual(policy, verdict)))
    except (AccessDenied, UnknownTenant, ValueError) as error:
        return CaseResult(sourced, count, (), refusal=str(error))
    return CaseResult(sourced, count, differences)


def _batches(case: pb.PolicyTestCase) -> Iterator[tuple[AccessRequest, Sequence[Label | None]]]:
    """Every caller, tenant and action, each with all rows; with None where it is about entering the tenant."""
    now = start_of(case.day) if case.day else time.time()
    callers = case.callers
    for home, role, clearance, tenant_id, action in itertools.product(
        callers.tenants, callers.roles, callers.clearances, case.tenants, case.actions
    ):
        subject = callers.subject or "somebody"
        groups, attributes = tuple(sorted(set(callers.groups))), _caller_attributes(callers)
        identity = Identity(subject, home, role, Sensitivity[clearance], "", 0.0, groups, attributes)
        labels: list[Label | None] = list(_labels(case.rows, tenant_id)) if case.HasField("rows") else [None]
        yield AccessRequest(identity, tenant_id, Action(action), now), labels


def _labels(rows: pb.PolicyTestRows, tenant_id: str) -> Iterator[Label]:
    given = {name: _attribute(name, value) for name, value in json_format.MessageToDict(rows.attributes).items()}
    readers = {READERS: frozenset(rows.readers)} if rows.readers else {}
    attributes = canonical_attributes({**given, **readers})
    for home, sensitivity, topics in itertools.product(rows.tenants or [tenant_id], rows.sensitivities, rows.topics):
        level = None if sensitivity == _UNTAGGED else Sensitivity[sensitivity]
        yield Label(home, level, frozenset(topics.split()), attributes)


def _caller_attributes(callers: pb.PolicyTestCallers) -> tuple[tuple[str, CallerAttributeValue], ...]:
    found: dict[str, CallerAttributeValue] = {}
    for name, given in json_format.MessageToDict(callers.attributes).items():
        value = _attribute(name, given)
        found[name] = tuple(sorted(value)) if isinstance(value, frozenset) else value
    return tuple(sorted(found.items()))


def _attribute(name: str, value: object) -> AttributeValue:
    """A value as JSON has it, where all numbers are fractions."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list) and all(isinstance(member, str) for member in value):
        return frozenset(value)
    if isinstance(value, str | bool):
        return value
    raise ValueError(f"attribute {name!r} must be a text, a whole number, a truth value or a list of texts")


def _verdicts(policy: PolicySnapshot, request: AccessRequest, labels: Sequence[Label | None]) -> Sequence[Verdict]:
    access = enter(policy, request)
    rows = [label for label in labels if label is not None]
    return decide_rows(access, rows) if rows else [access.entry]


def _is_expected(expect: pb.PolicyTestExpectation, verdict: Verdict) -> bool:
    counted = verdict.violation.value if verdict.violation is not None else _NOT_COUNTED
    return (
        verdict.allowed == (expect.decision == "ALLOW")
        and (not expect.rules or set(expect.rules) == set(verdict.rule_ids))
        and (not expect.no_rule or not verdict.rule_ids)
        and (not expect.violation or expect.violation == counted)
    )


def _expected(expect: pb.PolicyTestExpectation) -> str:
    parts = [expect.decision]
    if expect.rules or expect.no_rule:
        parts.append(f"by {', '.join(sorted(expect.rules))}" if expect.rules else "because no rule permits it")
    if expect.violation:
        parts.append(f"counting {expect.violation}")
    return " ".join(parts)


def _actual(policy: PolicySnapshot, verdict: Verdict) -> str:
    rules = policy.engine.rules
    placed = [f"{name} ({rules[name].source})" if name in rules else name for name in verdict.rule_ids]
    counted: ViolationType | str = verdict.violation or _NOT_COUNTED
    decided = f"by {', '.join(placed)}" if placed else "because no rule permits it"
    return f"{'ALLOW' if verdict.allowed else 'WITHHOLD'} {decided} counting {counted}"
