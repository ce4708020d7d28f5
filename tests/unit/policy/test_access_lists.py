"""Callers' sets: what both walls make of them is Cedar's own word on whole callers and whole rows."""

import functools
import itertools
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cedarpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_chassis.auth.grants import GrantSigner
from vecsec_chassis.domain.access import Action, Grant, Identity
from vecsec_chassis.domain.caller_sets import CallerSets, member_hash
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes
from vecsec_policy.cedar import entities as cedar_entities
from vecsec_policy.cedar.open_sets import sets_named
from vecsec_policy.folder.principals import MOST_GROUPS, Caller
from vecsec_policy.in_force.evaluation import decide_entry
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

CONDITIONS = """
when { resource has owner } unless { principal.groups.contains(resource.owner) }
when { resource has readers && principal.groups.containsAll(resource.readers) }
when { resource has topics && principal.groups.containsAny(resource.topics) && principal.groups.contains("a") }
when { resource has readers && resource.readers.contains("group:a") } unless { principal.groups.contains("b") }
when { principal.groups == ["a"] }
when { resource has readers && resource.readers.isEmpty() && principal.reader_names.containsAny(["group:c"]) }
when { resource has readers && resource.readers.containsAll(principal.reader_names) }
when { principal has teams && resource has readers && resource.readers.containsAny(principal.teams) }
when { principal has level && resource has sensitivity && resource.sensitivity > principal.level }
when { resource has owner && resource has readers && resource.readers.containsAny([resource.owner]) }
when { resource has readers && resource has owner } unless { principal.groups.containsAny(resource.readers) }
when { resource has readers && principal == Caller::"tenant_a/alice" && principal.groups.containsAll(resource.readers) }
"""
RULES = [f"forbid (principal, action, resource is Document) {line};" for line in CONDITIONS.strip().splitlines()]
NAMES = ("a", "b", "c", "d")
ENTRIES = (*NAMES, "user:alice", "user:bob", "group:a", "group:b", "group:c")

subsets = st.frozensets(st.sampled_from(ENTRIES), max_size=4)
labels = st.builds(
    lambda topics, readers, owner, level: Label(
        "tenant_a",
        level,
        topics,
        canonical_attributes(
            {} | ({} if readers is None else {"readers": readers}) | ({} if owner is None else {"owner": owner})
        ),
    ),
    st.frozensets(st.sampled_from(("rag", "retrieval", "a", "b")), min_size=1, max_size=2),
    st.none() | subsets,
    st.none() | st.sampled_from(NAMES),
    st.sampled_from([Sensitivity.PUBLIC, Sensitivity.INTERNAL]),
)
groups = st.frozensets(st.sampled_from(NAMES), max_size=4).map(lambda chosen: tuple(sorted(chosen)))
teams = st.none() | subsets.map(lambda chosen: tuple(sorted(chosen)))


@functools.cache
def policy_with(rules: tuple[int, ...]) -> PolicySnapshot:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        shutil.copytree(PACKAGED_POLICY, policy)
        (policy / "own.cedar").write_text("\n".join(f'@id("own-{number}")\n{RULES[number]}' for number in rules))
        if not rules:
            (policy / "own.cedar").unlink()
        schema = policy / "schema.cedarschema"
        text = schema.read_text().replace("  groups: Set", "  teams?: Set<String>,\n  level?: Long,\n  groups: Set")
        schema.write_text(text)
        return load_snapshot(policy)


def caller_of(policy: PolicySnapshot, identity: Identity) -> Caller:
    return decide_entry(policy, identity, "tenant_a", Action.READ, now=time.time()).caller


def decided_whole(policy: PolicySnapshot, caller: Caller, rows: list[Label]) -> list[bool]:
    """Cedar's word, with nothing left out."""
    further = {"groups": caller.groups, "reader_names": tuple(caller.reader_names), **dict(caller.attributes)}
    documents = [cedar_entities.document_entity(number, label) for number, label in enumerate(rows)]
    entities = [
        *cedar_entities.role_and_tenants(caller.role, caller.tenant, caller.tenant),
        cedar_entities.caller_entity(caller, further),
        *documents,
    ]
    request = {
        "principal": cedar_entities.caller_uid(caller),
        "action": cedar_entities.action_uid(Action.READ),
        "context": json.dumps(cedar_entities.context(caller, caller.tenant)),
    }
    results = cedarpy.is_authorized_batch(
        [{**request, "resource": each["uid"]} for each in documents],
        "\n".join(rule.text for rule in policy.engine.rules.values()),
        entities,
    )
    return [result.allowed and not result.diagnostics.errors for result in results]


def eyes(policy: PolicySnapshot, caller: Caller, decisions: ResidualDecisions) -> Visibility:
    residual = policy.engine.plan(caller, caller.tenant, Action.READ)
    return Visibility(
        decisions,
        Grant(
            subject=caller.subject,
            caller_tenant_id="tenant_a",
            role=caller.role.name,
            tenant_id="tenant_a",
            action=Action.READ,
            residual=residual,
            may_configure=False,
            policy_version=policy.version,
            expires_at=0.0,
            sets=policy.engine.sets_of(caller, residual),
        ),
    )


@settings(max_examples=150)
@given(
    st.frozensets(st.integers(0, len(RULES) - 1), max_size=2).map(lambda chosen: tuple(sorted(chosen))),
    st.lists(st.tuples(st.sampled_from(["alice", "bob"]), groups, teams, st.none() | st.integers(0, 3)), max_size=4),
    st.lists(labels, min_size=1, max_size=30, unique=True),
)
async def test_plan_mask_and_check_are_cedar_s_word(
    rules: tuple[int, ...],
    callers: list[tuple[str, tuple[str, ...], tuple[str, ...] | None, int | None]],
    rows: list[Label],
) -> None:
    policy, decisions, table = policy_with(rules), ResidualDecisions(), LabelTable(rows)
    for (
        subject,
        of_groups,
        of_teams,
        level,
    ) in callers:  # one after the other: what is remembered of one is not another's
        given_ = (("level", level),) if level is not None else ()
        attributes = given_ if of_teams is None else (*given_, ("teams", of_teams))
        identity = Identity(subject, "tenant_a", "analyst", Sensitivity.INTERNAL, "issuer", 0.0, of_groups, attributes)
        caller = caller_of(policy, identity)
        expected = decided_whole(policy, caller, rows)
        checked = policy.engine.decide_rows(caller, caller.tenant, Action.READ, rows)
        visibility = eyes(policy, caller, decisions)
        alone = await visibility.of(rows)
        assert [verdict.allowed for verdict in checked] == expected
        assert (await visibility.in_table(table)).tolist() == expected
        assert [label in alone for label in rows] == expected


def analyst(*groups: str, subject: str = "alice") -> Identity:
    return Identity(subject, "tenant_a", "analyst", Sensitivity.INTERNAL, "issuer", 0.0, tuple(sorted(groups)))


def test_callers_who_differ_in_groups_alone_share_a_plan() -> None:
    policy = policy_with(())
    one, other = (caller_of(policy, analyst(*chosen)) for chosen in (["a"], ["b", "c"]))
    residual = policy.engine.plan(one, one.tenant, Action.READ)
    assert policy.engine.plan(other, other.tenant, Action.READ) is residual
    assert sets_named(residual) == {"reader_names"}
    assert sets_named(policy.engine.plan(one, one.tenant, Action.DELETE)) == set(), (
        "readers alone are asked to be among them"
    )


def test_a_grant_with_a_thousand_groups_has_at_most_16_kb() -> None:
    policy = policy_with(())
    caller = caller_of(policy, analyst(*(f"{number:08x}-aaaa-bbbb-cccc-0123456789ab" for number in range(MOST_GROUPS))))
    grant = eyes(policy, caller, ResidualDecisions()).grant
    assert len(GrantSigner(Ed25519PrivateKey.generate(), "k" * 43).sign(grant)) <= 16 * 1024
    assert grant.sets.sizes == {"reader_names": MOST_GROUPS + 1}


def test_more_groups_than_can_be_judged_are_refused() -> None:
    with pytest.raises(AccessDenied, match="1,001 groups, more than the 1,000"):
        caller_of(policy_with(()), analyst(*map(str, range(MOST_GROUPS + 1))))


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("level", "high", "'level' as a text, .* declares it as a whole number"),
        ("level", True, "'level' as true or false, .* declares it as a whole number"),
        ("teams", "a", "'teams' as a text, .* declares it as a list of texts"),
        ("groups", ("a",), "'groups', a name that every caller has already"),
    ],
)
def test_an_attribute_that_does_not_fit_the_schema_is_refused(
    name: str, value: str | bool | tuple[str, ...], complaint: str
) -> None:
    identity = replace(analyst(), attributes=((name, value),))
    with pytest.raises(AccessDenied, match=complaint):
        caller_of(policy_with(()), identity)


def test_an_attribute_that_the_schema_does_not_declare_is_nothing_to_rules() -> None:
    identity = replace(analyst(), attributes=(("level", 2), ("shoe_size", 44)))
    assert caller_of(policy_with(()), identity).attributes == (("level", 2),)


def test_rules_can_ask_who_issued_the_token(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(PACKAGED_POLICY, folder)
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) '
        'unless { principal has issuer && principal.issuer == "https://first.test" };'
    )
    policy = load_snapshot(folder)
    label = Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}))
    for issuer, is_allowed in (("https://first.test", True), ("https://second.test", False)):
        caller = caller_of(policy, replace(analyst(), issuer=issuer, attributes=(("issuer", issuer),)))
        [verdict] = policy.engine.decide_rows(caller, caller.tenant, Action.READ, [label])
        assert verdict.allowed is is_allowed


def test_sets_are_read_as_they_were_written() -> None:
    sets = CallerSets.of({"groups": ["b", "a"], "empty": []})
    assert CallerSets.split(sets.sizes, sets.joined) == sets
    assert sets.hashes("groups") == {member_hash("a"), member_hash("b")}
    assert sets.hashes("empty") == frozenset()
    with pytest.raises(ValueError, match="bytes of members"):
        CallerSets.split({"groups": 3}, sets.joined)


def test_callers_of_many_groups_are_one_kind_of_plan_to_remember() -> None:
    policy, recent = policy_with(()), RecentPlans()
    for number in range(3):
        identity = analyst(*(f"g{number}-{each}" for each in range(300)), subject=f"user-{number}")
        recent.note(decide_entry(policy, identity, "tenant_a", Action.READ, now=0.0))
    (kind,) = recent.latest()
    assert (kind.identity.groups, kind.identity.subject) == ((), "")


async def test_threat_22_two_names_of_one_hash_show_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for two such names needs 2^40 tries, and then writes a row that names each."""

    def weak(name: str) -> bytes:
        return member_hash("group:mine" if name == "group:also-mine" else name)

    for place in ("label_table", "label_classes"):
        monkeypatch.setattr(f"vecsec_retrieval.visibility.{place}.member_hash", weak)
    policy = policy_with(())
    caller = caller_of(policy, analyst("mine"))
    names = ["group:mine", "group:also-mine", "user:boss", "group:board"]
    for order in itertools.permutations(names):
        labels = [
            Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}), (("readers", frozenset({name})),))
            for name in order
        ]
        sight = eyes(policy, caller, ResidualDecisions())
        visible = await sight.in_table(LabelTable(labels))
        shown = {name for name, is_visible in zip(order, visible, strict=True) if is_visible}
        assert shown == {"group:mine", "group:also-mine"}, "the second is the check's to withhold"
        assert await sight.of(labels) == {
            label for label, is_visible in zip(labels, visible, strict=True) if is_visible
        }
