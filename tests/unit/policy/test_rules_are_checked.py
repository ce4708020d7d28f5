"""Rules are compiled strictly: a rule that could not work, or could not be explained, ends the start."""

from pathlib import Path

import pytest

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_policy.in_force.snapshot import load_snapshot


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("permit(principal, action, resource);", "the policy has no @id"),
        ('@id("") permit(principal, action, resource);', "the policy has no @id"),
        ('@id("A rule") permit(principal, action, resource);', "@id('A rule') is reserved or not made of"),
        ('@id("rule-failure") permit(principal, action, resource);', "@id('rule-failure') is reserved"),
        ('@id("row-tenant") permit(principal, action, resource);', "is taken already, at"),
        ('@id("x") @violation("oops") forbid(principal, action, resource);', "unknown @violation('oops')"),
        ('@id("x") @violation("plan_check_divergence") forbid(principal, action, resource);', "unknown @violation"),
        ('@id("x") @violation("topic_violation") permit(principal, action, resource);', "a permit cannot have a"),
        ('@id("x") permit(principal == ?principal, action, resource);', "a template"),
        ('@id("x") permit(principal, action == Action::"fly", resource);', 'unrecognized action `Action::"fly"`'),
        (
            '@id("x") permit(principal, action, resource is Document) when { resource.owner == "a" };',
            "optional attribute",
        ),
        ('@id("x") permit(principal, action, resource is Document) when { resource.color == "a" };', "`color`"),
        ('@id("x") permit(principal, action, resource) when { principal.clearance == "a" && };', "unexpected token"),
        ('@id("x") permit(principal, action, resource == Document::"7");', "a rule cannot name a row"),
        ('@id("x") forbid(principal, action, resource) when { resource in [Document::"7"] };', "cannot name a row"),
        ('@id("x") forbid(principal, action, resource) when { principal.role == Role::"amdin" };', "no role 'amdin'"),
        ('@id("x") forbid(principal, action, resource == Tenant::"tenant_x");', "lists no tenant 'tenant_x'"),
        (
            '@id("x") permit(principal, action, resource) when { Caller::"tenant_a/bob" has clearance };',
            (
                'the policy looks into Caller::"tenant_a/bob"; a rule can only compare with whom it names: '
                'write principal == Caller::"tenant_a/bob" and ask that for the attribute'
            ),
        ),
        (
            '@id("x") permit(principal, action, resource) when { Caller::"tenant_a/bob".role.max_clearance > 1 };',
            'looks into Caller::"tenant_a/bob"',
        ),
        (
            '@id("x") permit(principal, action, resource) when { Role::"admin".max_clearance > 1 };',
            'write principal.role == Role::"admin"',
        ),
        (
            '@id("x") permit(principal, action, resource) when { Tenant::"tenant_a".topics.isEmpty() };',
            'write principal.tenant == Tenant::"tenant_a"',
        ),
        (
            (
                '@id("x") forbid(principal, action, resource) unless '
                '{ (if principal.clearance > 1 then principal else Caller::"tenant_a/bob").clearance > 2 };'
            ),
            'looks into Caller::"tenant_a/bob"',
        ),
        (
            '@id("x") forbid(principal, action, resource) when { {a: [Caller::"tenant_a/bob"]}.a.isEmpty() };',
            'looks into Caller::"tenant_a/bob"',
        ),
        (
            '@id("x") forbid(principal, action, resource) when { Caller::"tenant_a/bob" in principal.tenant };',
            'looks into Caller::"tenant_a/bob"',
        ),
        ('@id("x") permit(principal, action, resource)', "unexpected end of input"),
    ],
)
def test_a_bad_rule_is_named_with_its_line(folder: Path, rule: str, complaint: str) -> None:
    (folder / "own.cedar").write_text(f"// ours\n\n{rule}\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_snapshot(folder)
    message = str(refusal.value)
    assert message.startswith(f"{folder / 'own.cedar'}:3: ")
    assert complaint in message
    assert "\n" not in message


def test_a_schema_without_what_callers_are_made_of_is_refused(folder: Path) -> None:
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("  subject: String,\n", ""))
    with pytest.raises(ConfigurationError, match=r"schema.cedarschema: does not fit callers, roles and tenants"):
        load_snapshot(folder)


def test_a_schema_may_declare_more_of_rows(folder: Path) -> None:
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("  region?: String,\n", "  region?: String,\n  team?: Set<String>,\n"))
    condition = "resource has team && resource.team.isEmpty()"
    (folder / "own.cedar").write_text(
        f'@id("team") forbid(principal, action, resource is Document) when {{ {condition} }};'
    )
    assert "team" in load_snapshot(folder).engine.rules
