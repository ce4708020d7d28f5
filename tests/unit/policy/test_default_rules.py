"""The default rules against an oracle: a table in plain Python, written without a look at the Cedar files."""

import itertools

import pytest
from support.default_suite import LEVELS, TABLE

from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.folder.principals import resolve_caller
from vecsec_policy.in_force.snapshot import PolicySnapshot

OPERATIONS = {role: set(rights.operations) for role, rights in TABLE.items()}
MAXIMUM = {role: LEVELS.index(rights.highest) + 1 for role, rights in TABLE.items()}
ACROSS = {role: set(rights.across) for role, rights in TABLE.items()}
ANY_TOPIC = {role for role, rights in TABLE.items() if rights.any_topic}
ANY_SENSITIVITY = {role for role, rights in TABLE.items() if rights.any_level}

SCOPE_A = {"retrieval", "rag", "langchain", "marketing"}
TOPIC_SETS = [{"rag"}, {"rag", "marketing"}, {"finance"}, {"rag", "finance"}, {"RAG"}, set[str]()]
SENSITIVITIES = [*Sensitivity, None]
ROW_TENANTS = ["tenant_a", "tenant_b", "Tenant_A", ""]

CASES = list(itertools.product(OPERATIONS, Sensitivity, Action, ["tenant_a", "tenant_b", "nowhere"]))


def may_enter(role: str, action: str, target: str) -> bool:
    return action in OPERATIONS[role] and (target == "tenant_a" or action in ACROSS.get(role, set()))


def row_violation(role: str, claimed: int, target: str, label: Label) -> ViolationType | None:
    if label.tenant_id != target:
        return ViolationType.DOCUMENT_TENANT
    if label.sensitivity is None:
        return ViolationType.CLEARANCE
    if role not in ANY_SENSITIVITY and label.sensitivity > min(claimed, MAXIMUM[role]):
        return ViolationType.CLEARANCE
    if not label.topics or (role not in ANY_TOPIC and not label.topics <= SCOPE_A):
        return ViolationType.TOPIC
    return None


@pytest.mark.parametrize(("role", "clearance", "action", "target"), CASES)
def test_rules_and_table_agree(
    packaged: PolicySnapshot, role: str, clearance: Sensitivity, action: Action, target: str
) -> None:
    identity = Identity("alice", "tenant_a", role, clearance, "issuer", 0.0)
    caller = resolve_caller(identity, packaged.roles, packaged.tenants)
    tenant = packaged.tenants.get(target, type(caller.tenant)(target, frozenset()))

    [entry] = packaged.engine.decide_entry(caller, tenant, [action])
    assert entry.allowed == may_enter(role, action.value, target)
    trespass = target != "tenant_a" and action.value not in ACROSS.get(role, set())
    assert entry.violation == (ViolationType.CROSS_TENANT if trespass else None)

    labels = [
        Label(row_tenant, sensitivity, frozenset(topics))
        for row_tenant, sensitivity, topics in itertools.product(ROW_TENANTS, SENSITIVITIES, TOPIC_SETS)
    ]
    for label, verdict in zip(labels, packaged.engine.decide_rows(caller, tenant, action, labels), strict=True):
        violation = row_violation(role, clearance, target, label)
        assert verdict.allowed == (violation is None and action.value in OPERATIONS[role]), label
        assert verdict.violation == violation, label
        assert verdict.allowed or verdict.rule_ids or action.value not in OPERATIONS[role]


def test_a_label_that_the_schema_does_not_know_is_for_nobody(packaged: PolicySnapshot) -> None:
    admin = resolve_caller(
        Identity("root", "tenant_a", "admin", Sensitivity.SECRET, "issuer", 0.0), packaged.roles, packaged.tenants
    )
    plain = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}))
    odd = [
        Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), attributes)
        for attributes in [(("ower", "alice"),), (("owner", 7),), (("owner", frozenset({"alice"})),)]
    ]
    verdicts = packaged.engine.decide_rows(admin, admin.tenant, Action.READ, [plain, *odd, plain])
    assert [verdict.allowed for verdict in verdicts] == [True, False, False, False, True]
    assert verdicts[1].rule_ids == ("label-not-in-schema",)
    assert packaged.engine.decide_rows(admin, admin.tenant, Action.READ, []) == []


def test_what_no_rule_asks_for_is_decided_once_but_must_fit_the_schema(packaged: PolicySnapshot) -> None:
    analyst = resolve_caller(
        Identity("alice", "tenant_a", "analyst", Sensitivity.INTERNAL, "issuer", 0.0), packaged.roles, packaged.tenants
    )
    owned = [
        Label("tenant_a", sensitivity, frozenset({"rag"}), (("owner", f"user-{number}"),))
        for number in range(3)
        for sensitivity in (Sensitivity.INTERNAL, Sensitivity.SECRET)
    ]
    odd = Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}), (("owner", 1),))
    verdicts = packaged.engine.decide_rows(analyst, analyst.tenant, Action.READ, [*owned, odd])
    assert [verdict.allowed for verdict in verdicts] == [True, False] * 3 + [False]
    assert verdicts[-1].rule_ids == ("label-not-in-schema",)
    assert verdicts == [
        packaged.engine.decide_rows(analyst, analyst.tenant, Action.READ, [label])[0] for label in [*owned, odd]
    ]
