"""The guard of partial evaluation, which is experimental upstream: rules specialised to a caller decide every label as
the full rules do. Over random callers, labels and rules, half-tagged labels and failing rules among them."""

import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Label, Sensitivity, rule_attributes
from vecsec_policy.cedar import checking
from vecsec_policy.cedar import residual as residual_json
from vecsec_policy.cedar.engine import CedarEngine
from vecsec_policy.folder.principals import Caller, Role, Tenant
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

LARGEST = 2**63 - 1
TOPICS = ("rag", "finance", "marketing", "a b", '"', "⚖")
TENANT_IDS = ("tenant_a", "tenant_b", "c")

topic_sets = st.frozensets(st.sampled_from(TOPICS), max_size=3)
tenants = st.builds(Tenant, st.sampled_from(TENANT_IDS), topic_sets)
roles = st.builds(
    Role,
    st.sampled_from(["guest", 'a "role"']),
    st.frozensets(st.sampled_from(Action)),
    st.sampled_from(Sensitivity),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
callers = st.builds(
    Caller, st.sampled_from(["alice", "böb\n", '"; permit', "x" * 200]), tenants, roles, st.sampled_from(Sensitivity)
)
attributes = st.fixed_dictionaries(
    {}, optional={"owner": st.sampled_from(["alice", "bob", ""]), "region": st.sampled_from(["eu", "e*", "us"])}
)
labels = st.builds(
    Label,
    st.sampled_from(["", *TENANT_IDS, "Tenant_A"]),
    st.none() | st.sampled_from(Sensitivity),
    topic_sets,
    attributes.map(lambda found: tuple(sorted(found.items()))),
)

# Truth values over a row, each guarded as the validator wants it; some fail for some rows, some for all.
atoms = st.sampled_from(
    [
        "true",
        "false",
        "resource is Document",
        "resource is Tenant",
        "resource has owner",
        "(resource has owner && resource.owner == principal.subject)",
        '(resource has region && resource.region like "e\\**")',
        "(resource has owner && resource has region && resource.owner == resource.region)",
        "(resource has sensitivity && resource.sensitivity <= principal.clearance)",
        "(resource has sensitivity && resource.sensitivity * 2 - 1 > principal.role.max_clearance)",
        f"(resource has sensitivity && resource.sensitivity + {LARGEST - 2} > 0)",
        f"(resource has sensitivity && resource.sensitivity + {LARGEST} > 0)",
        f"principal.clearance + {LARGEST - 1} > 0",
        f"principal.clearance * {LARGEST} == 1",
        "(resource has topics && resource.topics.containsAny(principal.tenant.topics))",
        '(resource has topics && ["rag", "finance"].containsAll(resource.topics))',
        '(resource has tenant_id && {unknown: resource.tenant_id, Value: 1}.unknown == "c")',
        '(if resource has region then resource.region != "us" else principal.role.reads_across_tenants)',
        "context.target == principal.tenant",
        'principal == Caller::"tenant_a/alice"',
        '[Caller::"tenant_a/alice", Caller::"c/bob"].contains(principal)',
        'action == Action::"read"',
        "principal.role.operations.contains(action)",
        'principal.tenant.topics.contains("rag")',
        'principal.role == Role::"admin"',
        'principal in Caller::"tenant_a/bob"',
        'decimal("1.5").lessThan(decimal("2.5"))',
    ]
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda three: f"(if {three[0]} then {three[1]} else {three[2]})"),
    ),
    max_leaves=6,
)
rules = st.builds(
    "{effect} (principal, {action}, {resource}) {word} {{ resource is Document && {condition} }};".format,
    effect=st.sampled_from(["permit", "forbid"]),
    action=st.sampled_from(["action", 'action == Action::"read"', 'action in [Action::"write", Action::"read"]']),
    resource=st.sampled_from(["resource", "resource is Document"]),
    word=st.sampled_from(["when", "unless"]),
    condition=conditions,
)


def decided_far_away(residual: str, label: Label) -> bool:
    """Decide as the retrieval service does: with the residual and the label, and nothing else."""
    document = {"uid": {"type": "Document", "id": "row"}, "attrs": rule_attributes(label), "parents": []}
    request = {"principal": 'Anyone::"x"', "action": 'Anything::"x"', "resource": 'Document::"row"', "context": {}}
    policies = cedarpy.PolicySet.from_json_str(residual)
    result = cedarpy.is_authorized(request, policies, [document])
    return result.allowed and not result.diagnostics.errors


def assert_agreement(engine: CedarEngine, caller: Caller, target: Tenant, action: Action, rows: list[Label]) -> None:
    if target.tenant_id == caller.tenant.tenant_id:
        target = caller.tenant
    residual = engine.plan(caller, target, action)
    assert "unknown" not in _operators(json.loads(residual))
    for label, verdict in zip(rows, engine.decide_rows(caller, target, action, rows), strict=True):
        assert decided_far_away(residual, label) == verdict.allowed, (residual, label, verdict)


def _operators(part: object) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(_operators, part))
    if not isinstance(part, dict):
        return set()
    inner = part["Record"].values() if "Record" in part else part.values()
    return set(part).union(*map(_operators, inner))


@settings(max_examples=150)
@given(callers, tenants, st.sampled_from(Action), st.lists(labels, min_size=1, max_size=8))
def test_the_packaged_rules_decide_alike_here_and_there(
    packaged: PolicySnapshot, caller: Caller, target: Tenant, action: Action, rows: list[Label]
) -> None:
    assert_agreement(packaged.engine, caller, target, action, rows)


@settings(max_examples=150)
@given(
    st.lists(rules, min_size=1, max_size=4),
    st.sampled_from([1, 2, 25]),
    callers,
    tenants,
    st.sampled_from(Action),
    st.lists(labels, min_size=1, max_size=8),
)
def test_any_rules_decide_alike_here_and_there_however_few_are_specialised_at_once(
    own_rules: list[str], at_once: int, caller: Caller, target: Tenant, action: Action, rows: list[Label]
) -> None:
    with patch.object(checking, "_RULES_AT_ONCE", at_once), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in filter(Path.is_file, PACKAGED_POLICY.iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "access.cedar").write_text(
            "\n".join(f'@id("own-{number}") {rule}' for number, rule in enumerate(own_rules))
        )
        engine = load_snapshot(folder).engine
    assert_agreement(engine, caller, target, action, rows)


def test_a_residual_is_small_and_says_no_more_than_it_must(packaged: PolicySnapshot) -> None:
    analyst = Caller("alice", packaged.tenants["tenant_a"], packaged.roles["analyst"], Sensitivity.INTERNAL)
    residual = packaged.engine.plan(analyst, analyst.tenant, Action.READ)
    assert len(residual) < 2_500
    assert "entity_type" not in residual
    assert "alice" not in residual
    assert "stay-in-own-tenant" not in residual, "rules about entering are settled when access is planned"
    admin = Caller("root", packaged.tenants["tenant_a"], packaged.roles["admin"], Sensitivity.SECRET)
    assert set(json.loads(packaged.engine.plan(admin, admin.tenant, Action.READ))["staticPolicies"]) == {
        "operations",
        "row-has-sensitivity",
        "row-has-topics",
        "row-readers",
        "row-tenant",
    }


def test_a_residual_for_something_else_than_a_row_is_refused() -> None:
    residual = {
        "effect": "permit",
        "conditions": [
            {"kind": "when", "body": {"==": {"left": {"unknown": [{"Value": "context"}]}, "right": {"Value": 1}}}}
        ],
    }
    with pytest.raises(residual_json.UnexpectedUnknown):
        residual_json.policies({"a": residual}, residual_json.KnownRequest("Document", {}))


def test_numbers_are_not_truth_values() -> None:
    residual = {
        "effect": "permit",
        "conditions": [
            {"kind": "when", "body": {"&&": {"left": {"Value": 1}, "right": {"Value": True}}}},
            {"kind": "unless", "body": {"Value": 0}},
        ],
    }
    policies = residual_json.policies({"a": residual}, residual_json.KnownRequest("Document", {}))
    policy_set = json.loads(residual_json.policy_set_json(policies))
    assert policy_set["staticPolicies"]["a"]["conditions"] == [
        {"kind": "when", "body": {"&&": {"left": {"Value": 1}, "right": {"!": {"arg": {"Value": 0}}}}}}
    ]


@pytest.mark.parametrize(
    ("rule", "is_shared"),
    [
        ("when { resource has owner && principal.clearance > 1 }", True),
        ("when { resource has owner && resource.owner == principal.subject }", False),
        ('when { resource has owner && principal == Caller::"tenant_a/alice" }', False),
        ("when { [principal].contains(principal) }", False),
    ],
)
def test_callers_share_a_plan_only_where_no_rule_asks_who_they_are(folder: Path, rule: str, is_shared: bool) -> None:
    with (folder / "access.cedar").open("a") as rules:
        rules.write(f'@id("own") permit (principal, action, resource is Document) {rule};')
    policy = load_snapshot(folder)
    tenant, role = policy.tenants["tenant_a"], policy.roles["analyst"]
    alice, bob = (Caller(name, tenant, role, Sensitivity.INTERNAL) for name in ("alice", "bob"))
    residuals = [policy.engine.plan(each, tenant, Action.READ) for each in (alice, bob)]
    assert policy.engine.checked.rows_depend_on_subject is not is_shared
    assert (residuals[0] is residuals[1]) is is_shared
    assert policy.engine.plan(Caller("alice", tenant, role, Sensitivity.PUBLIC), tenant, Action.READ) != residuals[0]


def test_a_rule_whose_scope_names_a_caller_is_planned_for_each(folder: Path) -> None:
    with (folder / "access.cedar").open("a") as rules:
        rules.write('@id("own") forbid (principal == Caller::"tenant_a/alice", action, resource is Document);')
    policy = load_snapshot(folder)
    tenant, role = policy.tenants["tenant_a"], policy.roles["analyst"]
    alice, bob = (Caller(name, tenant, role, Sensitivity.INTERNAL) for name in ("alice", "bob"))
    assert policy.engine.plan(alice, tenant, Action.READ) != policy.engine.plan(bob, tenant, Action.READ)
