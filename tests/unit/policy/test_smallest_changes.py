"""The smallest change that would have allowed what was refused, and the values that decided."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.in_force.evaluation import TenantAccess, decide_entry, decide_rows
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.use_cases.deciding_values import deciding_values
from vecsec_policy.use_cases.explain_access import explained
from vecsec_policy.use_cases.smallest_changes import SmallestChanges, find_smallest_changes

SECRET = Label("tenant_a", Sensitivity.SECRET, frozenset({"rag"}))
OPEN = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}))
Shown = list[list[tuple[str, str, str]]]


def access(
    policy: PolicySnapshot,
    role: str = "analyst",
    clearance: Sensitivity = Sensitivity.INTERNAL,
    *,
    home: str = "tenant_a",
    tenant_id: str = "tenant_a",
    action: Action = Action.READ,
) -> TenantAccess:
    identity = Identity("alice", home, role, clearance, "issuer", 0.0)
    return decide_entry(policy, identity, tenant_id, action, now=0.0)


def remedies(of: TenantAccess, label: Label) -> SmallestChanges:
    assert not decide_rows(of, [label])[0].allowed
    return asyncio.run(find_smallest_changes(of, label))


def shown(found: SmallestChanges) -> Shown:
    return [[(each.subject, each.before, each.after) for each in changes] for changes in found.found]


def test_a_clearance_that_the_role_allows_is_offered(packaged: PolicySnapshot) -> None:
    internal = replace(OPEN, sensitivity=Sensitivity.INTERNAL)
    found = shown(remedies(access(packaged, clearance=Sensitivity.PUBLIC), internal))
    assert [("principal.clearance", "PUBLIC", "INTERNAL")] in found
    assert [("resource.sensitivity", "INTERNAL", "PUBLIC")] in found


def test_the_smallest_relabelling_comes_before_wider_rights(packaged: PolicySnapshot) -> None:
    found = shown(remedies(access(packaged), SECRET))
    assert found[0] == [("resource.sensitivity", "SECRET", "INTERNAL")]
    assert [("principal.role", "analyst", "admin")] in found


def test_topics_are_taken_away_or_the_scope_is_widened(packaged: PolicySnapshot) -> None:
    found = shown(remedies(access(packaged), replace(OPEN, topics=frozenset({"rag", "finance"}))))
    assert found[0] == [("resource.topics", "[finance, rag]", "[rag]")]
    assert [
        (
            "principal.tenant.topics",
            "[langchain, marketing, rag, retrieval]",
            "[finance, langchain, marketing, rag, retrieval]",
        )
    ] in found


def test_two_changes_are_offered_where_one_is_not_enough(packaged: PolicySnapshot) -> None:
    found = shown(remedies(access(packaged), Label("tenant_a", Sensitivity.CONFIDENTIAL, frozenset())))
    assert found[0] == [
        ("resource.sensitivity", "CONFIDENTIAL", "INTERNAL"),
        ("resource.topics", "(absent)", "[langchain]"),
    ]
    assert all(len(changes) == 2 for changes in found)


def test_two_small_changes_come_before_one_great_one(packaged: PolicySnapshot) -> None:
    found = shown(remedies(access(packaged), replace(SECRET, topics=frozenset({"rag", "finance"}))))
    assert [each[0] for each in found[0]] == ["resource.sensitivity", "resource.topics"]
    assert any([each[0] for each in changes] == ["principal.role"] for changes in found)


def test_a_pair_may_change_the_role_and_then_the_clearance(folder: Path) -> None:
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) when { principal.clearance < 3 };'
    )
    found = shown(remedies(access(load_snapshot(folder)), replace(OPEN, sensitivity=Sensitivity.CONFIDENTIAL)))
    assert [("principal.role", "analyst", "superuser"), ("principal.clearance", "INTERNAL", "CONFIDENTIAL")] in found


def test_a_foreign_tenant_needs_another_token_or_a_role_that_crosses(crossing: PolicySnapshot) -> None:
    found = shown(remedies(access(crossing, home="tenant_b"), OPEN))
    assert found[0] == [("principal.tenant", "tenant_b", "tenant_a")]
    assert [("principal.role", "analyst", "admin")] in found


def test_an_operation_that_the_role_lacks_needs_another_role(packaged: PolicySnapshot) -> None:
    found = shown(remedies(access(packaged, action=Action.WRITE), OPEN))
    assert found[0] == [("principal.role", "analyst", "superuser")]


@pytest.mark.parametrize(
    ("condition", "label", "remedy"),
    [
        (
            'resource has region && resource.region == "eu"',
            replace(OPEN, attributes=(("region", "eu"),)),
            ("resource.region", "eu", "(absent)"),
        ),
        (
            'principal.role == Role::"analyst" && !(resource has owner && resource.owner == principal.subject)',
            OPEN,
            ("resource.owner", "(absent)", "alice"),
        ),
        (
            'principal.role == Role::"analyst" && !(resource has region && ["de", "fr"].contains(resource.region))',
            OPEN,
            ("resource.region", "(absent)", "de"),
        ),
    ],
)
def test_attributes_are_tried_with_the_values_that_rules_compare_them_with(
    folder: Path, condition: str, label: Label, remedy: tuple[str, str, str]
) -> None:
    (folder / "own.cedar").write_text(
        f'@id("own") forbid (principal, action, resource is Document) when {{ {condition} }};'
    )
    of = access(load_snapshot(folder))
    assert shown(remedies(of, label))[0] == [remedy]
    values = {each.attribute: each.value for each in deciding_values(of, label, decide_rows(of, [label])[0])}
    assert values[remedy[0]] == remedy[1]


def test_if_nothing_helps_it_says_so(folder: Path) -> None:
    (folder / "own.cedar").write_text('@id("own") forbid (principal, action, resource is Document);')
    found = remedies(access(load_snapshot(folder)), OPEN)
    assert found.found == ()
    assert found.tried > 20


def test_the_values_are_those_of_the_determining_rules(packaged: PolicySnapshot) -> None:
    of = access(packaged)
    assert {each.attribute: each.value for each in deciding_values(of, SECRET, decide_rows(of, [SECRET])[0])} == {
        "principal.clearance": "INTERNAL",
        "principal.role.ignores_clearance": "false",
        "resource.sensitivity": "SECRET",
    }
    entering = access(packaged, home="tenant_b")
    values = {each.attribute: each.value for each in deciding_values(entering, OPEN, entering.entry)}
    assert values["principal.tenant"] == "tenant_b"
    assert values["resource"] == "tenant_a"
    writing = access(packaged, action=Action.WRITE)
    values = {each.attribute: each.value for each in deciding_values(writing, OPEN, writing.entry)}
    assert values["principal.role.operations"] == "[read]"
    assert values["action"] == "write"


async def test_others_are_served_meanwhile(folder: Path) -> None:
    """The search may take long in all, but never long at a time."""
    (folder / "own.cedar").write_text('@id("own") forbid (principal, action, resource is Document);')
    of = access(load_snapshot(folder))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())

    found = await find_smallest_changes(of, OPEN)
    busy.cancel()
    assert turns > found.tried / 60


def test_a_day_that_decides_is_told_and_tried(folder: Path) -> None:
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("region?: String,", "region?: String, until?: Long,"))
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) '
        "unless { resource has until && resource.until <= context.today };"
    )
    of = access(load_snapshot(folder))
    label = replace(OPEN, attributes=(("until", 20300101),))
    assert shown(remedies(of, label))[0] == [("resource.until", "20300101", "19700101")]
    values = {each.attribute: each.value for each in deciding_values(of, label, decide_rows(of, [label])[0])}
    assert values == {"context.today": "19700101", "resource.until": "20300101"}


OF_TENANT_A = """
@id("merger") @description("Carol alone, while tenant_a merges.")
forbid (principal, action, resource is Document)
when { resource has owner && resource.owner != "carol" }
unless { principal.tenant != Tenant::"tenant_a" && resource.owner == "bob" };
@id("dave") forbid (principal, action, resource is Document)
when { resource has owner && resource.owner == "erin" && principal == Caller::"tenant_a/dave" };
@id("everybody") @description("Notes are private.")
forbid (principal, action, resource is Document) when { resource has region };
"""


async def test_rules_that_name_others_are_told_of_to_nobody_who_lacks_the_policy(folder: Path) -> None:
    (folder / "own.cedar").write_text(OF_TENANT_A)
    policy = load_snapshot(folder)
    label = replace(
        OPEN, tenant_id="tenant_b", topics=frozenset({"finance"}), attributes=(("owner", "x"), ("region", "eu"))
    )
    of = access(policy, "superuser", Sensitivity.CONFIDENTIAL, home="tenant_b", tenant_id="tenant_b")
    [verdict] = decide_rows(of, [label])
    told = await explained(of, label, verdict, "")
    by_id = {rule.rule_id: rule for rule in told.rules}
    assert by_id["merger"].text == ""
    assert by_id["merger"].description.startswith("The rule names another tenant")
    assert "Notes are private" in by_id["everybody"].text
    assert "carol" not in repr(told)
    assert "tenant_a" not in repr(told)
    at_the_desk = await explained(of, label, verdict, "", has_policy=True)
    assert "carol" in next(rule.text for rule in at_the_desk.rules if rule.rule_id == "merger")
    own = access(policy, "superuser", Sensitivity.CONFIDENTIAL)
    mine = replace(label, tenant_id="tenant_a", topics=frozenset({"rag"}))
    told = await explained(own, mine, decide_rows(own, [mine])[0], "")
    assert "carol" in next(rule.text for rule in told.rules if rule.rule_id == "merger")


def test_a_grant_names_nobody_whom_the_decision_does_not_hang_on(folder: Path) -> None:
    (folder / "own.cedar").write_text(OF_TENANT_A)
    policy = load_snapshot(folder)
    of = access(policy, home="tenant_b", tenant_id="tenant_b")
    residual = policy.engine.plan(of.caller, of.target, of.action)
    assert "dave" not in residual
    assert "erin" not in residual
    assert "tenant_a" not in residual
