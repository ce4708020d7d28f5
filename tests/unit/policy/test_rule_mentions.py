"""What a rule looks at is read off its syntax tree, whatever forms stand in it."""

from pathlib import Path

import pytest

from vecsec_policy.cedar.ast import Mentions
from vecsec_policy.in_force.snapshot import load_snapshot


def mentions(folder: Path, condition: str) -> Mentions:
    (folder / "own.cedar").write_text(
        f'@id("own") forbid (principal, action, resource is Document) when {{ {condition} }};'
    )
    return load_snapshot(folder).engine.rules["own"].mentions


@pytest.mark.parametrize(
    ("condition", "attributes", "constants"),
    [
        (
            'principal.tenant is Tenant in Tenant::"tenant_a" && principal.clearance > 2',
            {("principal", "tenant"), ("principal", "clearance")},
            {(("principal", "clearance"), 2)},
        ),
        ('{Value: principal.subject}.Value == "alice"', {("principal", "subject")}, set()),
        ('{"in": principal.clearance}["in"] < 3', {("principal", "clearance")}, set()),
        (
            'principal.role.reads_across_tenants || !(resource has region && resource.region like "eu*")',
            {("principal", "role", "reads_across_tenants"), ("resource", "region")},
            {(("resource", "region"), "eu")},
        ),
        (
            '["a", "b"].contains(principal.subject) && (if 1 < principal.clearance then true else false)',
            {("principal", "subject"), ("principal", "clearance")},
            {(("principal", "subject"), "a"), (("principal", "subject"), "b"), (("principal", "clearance"), 1)},
        ),
    ],
)
def test_a_rule_mentions_what_it_asks_for_and_compares(
    folder: Path, condition: str, attributes: set[object], constants: set[object]
) -> None:
    found = mentions(folder, condition)
    assert found.attributes == attributes
    assert found.constants == constants


def test_entities_are_found_in_scope_and_conditions(folder: Path) -> None:
    found = mentions(folder, 'principal.role == Role::"analyst" || context.target in [Tenant::"tenant_b"]')
    assert found.entities == {("Role", "analyst"), ("Tenant", "tenant_b")}


@pytest.mark.parametrize(
    ("condition", "depends_on_subject"),
    [
        ("principal has subject", True),
        ('principal.subject == "alice"', True),
        ('principal is Caller in Role::"analyst"', True),
        ("{Value: principal} == {Value: principal}", True),
        ("principal.tenant == context.target", False),
        ('"x" == "principal.subject"', False),
    ],
)
def test_rows_ask_who_only_where_more_than_attributes_of_a_kind_of_caller_count(
    folder: Path, condition: str, depends_on_subject: bool
) -> None:
    (folder / "own.cedar").write_text(
        f'@id("own") forbid (principal, action, resource is Document) when {{ {condition} }};'
    )
    assert load_snapshot(folder).engine.checked.rows_depend_on_subject is depends_on_subject
