"""`memberships.yaml`: who belongs to what, and every mistake with its file and line."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from vecsec_chassis.auth.caller_names import prefix_of
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.folder.memberships import Memberships
from vecsec_policy.in_force.metrics import observe_versions
from vecsec_policy.in_force.snapshot import PolicyAssignment, PolicyInForce, load_snapshot

FILE = """
tenants:
  tenant_a:
    finance:
      people: [alice, {subject: bob, issuer: "https://idp.test"}]
      groups: [controlling]
    controlling:
      people: [carol]
      groups: [audit]
  tenant_b:
    finance: {people: [alice, dan]}
"""
ALICE = Identity("alice", "tenant_a", "analyst", Sensitivity.INTERNAL, "https://idp.test", 0.0)


def read(folder: Path, text: str) -> Memberships:
    (folder / "memberships.yaml").write_text(text)
    return load_snapshot(folder).memberships


def test_metrics_tell_how_many_there_are_and_when_the_file_was_written(folder: Path) -> None:
    reader = InMemoryMetricReader()
    in_force = PolicyInForce(PolicyAssignment(load_snapshot(folder)))
    observe_versions(MeterProvider(metric_readers=[reader]).get_meter("test"), in_force)

    def shown() -> dict[str, float]:
        data = reader.get_metrics_data()
        assert data is not None
        return {
            f"{metric.name} {point.attributes.get('kind', '')}".strip(): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name.startswith("vecsec_memberships")
        }

    assert shown() == {"vecsec_memberships people": 0, "vecsec_memberships groups": 0}
    (folder / "memberships.yaml").write_text(FILE)
    os.utime(folder / "memberships.yaml", (1_700_000_000, 1_700_000_000))
    in_force.adopt(PolicyAssignment(load_snapshot(folder)))
    listed = in_force.assignment.current.memberships
    assert shown() == {
        "vecsec_memberships people": len(listed.of_people),
        "vecsec_memberships groups": len(listed.of_each_group),
        "vecsec_memberships_changed_timestamp": 1_700_000_000,
    }
    assert len(listed.of_people) > 2


def test_people_belong_to_groups_and_by_them_to_others(folder: Path) -> None:
    memberships = read(folder, FILE)

    def groups(subject: str, *claimed: str, **changed: str) -> tuple[str, ...]:
        return memberships.groups_of(replace(ALICE, subject=subject, groups=claimed, **changed))

    assert groups("alice") == ("finance",)
    assert groups("carol") == ("controlling", "finance")
    assert groups("nobody") == ()
    assert groups("nobody", "sales") == ("sales",)
    assert groups("nobody", "audit") == ("audit", "controlling", "finance"), "tokens give groups that are in groups"
    assert groups("alice", "sales") == ("finance", "sales")
    assert groups("Alice") == ()
    assert groups("dan") == (), "of the same name, in another tenant"
    assert groups("dan", tenant_id="tenant_b") == ("finance",)


def test_a_person_with_an_issuer_is_nobody_of_another(folder: Path) -> None:
    memberships = read(folder, FILE)
    bob = replace(ALICE, subject="bob")
    assert memberships.groups_of(bob) == ("finance",)
    assert memberships.groups_of(replace(bob, issuer="https://other.test")) == ()
    second = replace(bob, subject=prefix_of("https://idp.test", is_first=False) + "bob")
    assert memberships.groups_of(second) == memberships.groups_of(bob), "who is called otherwise by rules"
    assert memberships.groups_of(replace(second, issuer="https://other.test")) == ()


def test_a_name_without_an_issuer_is_nobodys_of_a_second_issuer(folder: Path) -> None:
    memberships = read(folder, FILE)
    second = replace(ALICE, subject=prefix_of("https://other.test", is_first=False) + "alice")
    assert memberships.groups_of(ALICE) == ("finance",)
    assert memberships.groups_of(replace(second, issuer="https://other.test")) == ()


def test_a_group_s_people_are_all_who_belong_to_it(folder: Path) -> None:
    memberships = read(folder, FILE)
    assert memberships.people_of("tenant_a", "finance") == [("alice", ""), ("bob", "https://idp.test"), ("carol", "")]
    assert memberships.people_of("tenant_a", "audit") == []


def test_without_the_file_tokens_alone_say(folder: Path) -> None:
    assert load_snapshot(folder).memberships == Memberships()


def test_the_file_is_part_of_the_version(folder: Path) -> None:
    before = load_snapshot(folder).version
    read(folder, FILE)
    assert load_snapshot(folder).version != before


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("tenants: {tenant_x: {}}", 1, "the tenants file lists no tenant 'tenant_x'"),
        ("groups: {}", 1, "has no field 'groups'; known are tenants"),
        ("{}", 1, "lists no tenants under `tenants:`"),
        (
            "tenants:\n  tenant_a:\n    a: {members: [b]}",
            3,
            "group 'a' has no field 'members'; known are groups, people",
        ),
        ("tenants:\n  tenant_a:\n    a: {}", 3, "group 'a' has neither `people:` nor `groups:`"),
        ("tenants:\n  tenant_a:\n    a: {people: [7]}", 3, "a person of group 'a' must be text"),
        ("tenants:\n  tenant_a:\n    a: {people: [b, b]}", 3, "'b' stands twice among the people"),
        ("tenants:\n  tenant_a:\n    a: {people: [{issuer: x}]}", 3, "a person of group 'a' has no subject"),
        ("tenants:\n  tenant_a:\n    a: {people: [{subject: x, issuer: ''}]}", 3, "the issuer is empty"),
        ("tenants:\n  tenant_a:\n    a: {groups: [b, b]}", 3, "'b' stands twice among the groups"),
        ("tenants:\n  tenant_a:\n    a: {groups: [a]}", 3, "'a' would be part of itself: a contains a"),
        (
            "tenants:\n  tenant_a:\n    a: {groups: [b]}\n    b: {groups: [c]}\n    c: {groups: [a]}",
            4,
            "would be part of itself: b contains c contains a contains b",
        ),
        (f"tenants:\n  tenant_a:\n    {'x' * 251}: {{people: [b]}}", 3, "1 to 250 printable characters"),
        ("tenants:\n  tenant_a:\n    a: {people: ['']}", 3, "a subject is 1 to 256 printable characters"),
        ('tenants:\n  tenant_a:\n    a: {people: ["b\\nc"]}', 3, "a subject is 1 to 256 printable characters"),
        (
            "tenants:\n  tenant_a:\n" + "".join(f"    g{number}: {{people: [b]}}\n" for number in range(1001)),
            1003,
            "'b' belongs to more than the 1,000 groups",
        ),
        ("tenants: [", 1, "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(folder: Path, text: str, line: int, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(folder, text)
    message = str(refused.value)
    assert message.startswith(f"{folder / 'memberships.yaml'}:{line}: "), message
    assert complaint in message


def test_it_may_be_there_once(folder: Path) -> None:
    (folder / "memberships.json").write_text('{"tenants": {}}')
    with pytest.raises(ConfigurationError, match=r"there twice: memberships\.yaml, memberships\.json"):
        read(folder, FILE)
