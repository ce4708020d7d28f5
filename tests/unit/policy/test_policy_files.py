"""Policy folders are read strictly: whatever is wrong is named with its file and line."""

from pathlib import Path

import pytest

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

ROLES = "roles:\n  guest:\n    operations: [read]\n    max_clearance: PUBLIC\n"
TENANTS = "tenants:\n  tenant_a:\n    topics: [rag]\n"


def test_the_packaged_policy_is_the_one_of_the_original_system() -> None:
    source = load_snapshot(PACKAGED_POLICY)
    assert {role.name: (role.max_clearance, role.operations) for role in source.roles.values()} == {
        "guest": (Sensitivity.PUBLIC, {Action.READ}),
        "analyst": (Sensitivity.INTERNAL, {Action.READ}),
        "superuser": (Sensitivity.CONFIDENTIAL, {Action.READ, Action.WRITE, Action.CONFIGURE}),
        "admin": (Sensitivity.SECRET, set(Action)),
    }
    assert source.tenants["tenant_a"].topics == {"retrieval", "rag", "langchain", "marketing"}
    assert source.tenants["tenant_b"].topics == {"finance", "policy", "marketing"}


def test_every_packaged_rule_says_what_it_is_for() -> None:
    rules = load_snapshot(PACKAGED_POLICY).engine.rules.values()
    assert all(rule.description for rule in rules)
    assert all(rule.text.startswith("@id") and rule.text.endswith(";") for rule in rules)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("roles.yaml", "", "roles.yaml:1: the file is empty"),
        ("roles.yaml", "roles: {}\n", "roles.yaml:1: the roles file lists no role"),
        ("roles.yaml", "rolls:\n  guest: {}\n", "roles.yaml:1: the roles file has no field 'rolls'; known are roles"),
        ("roles.yaml", "roles:\n  guest: [\n", "roles.yaml:2: not YAML"),
        ("roles.yaml", "roles:\n  guest: \t\n", "roles.yaml:2: "),
        ("roles.yaml", "\n\n- a\n", "roles.yaml:3: the roles file must be a mapping"),
        ("roles.yaml", ROLES + ROLES, "roles.yaml:5: 'roles' stands twice"),
        ("roles.yaml", ROLES + "  guest: {}\n", "roles.yaml:5: 'guest' stands twice in roles"),
        (
            "roles.yaml",
            ROLES + "    color: red\n",
            "roles.yaml:5: role 'guest' has no field 'color'; known are embed",
        ),
        (
            "roles.yaml",
            ROLES + "    ignores_clearance: yes\n",
            "roles.yaml:5: ignores_clearance of role 'guest' must be",
        ),
        (
            "roles.yaml",
            ROLES + "    ignores_clearance: 'true'\n",
            "roles.yaml:5: ignores_clearance of role 'guest' must",
        ),
        ("roles.yaml", ROLES.replace("read", "reed"), "roles.yaml:3: unknown operation 'reed'; known are read, write"),
        ("roles.yaml", ROLES.replace("[read]", "read"), "roles.yaml:3: operations of role 'guest' must be a list"),
        ("roles.yaml", ROLES.replace("PUBLIC", "TOP"), "roles.yaml:4: unknown sensitivity 'TOP'; known are PUBLIC"),
        ("roles.yaml", ROLES.replace("PUBLIC", "1"), "roles.yaml:4: max_clearance of role 'guest' must be text"),
        ("roles.yaml", "roles:\n  guest:\n    operations: [read]\n", "roles.yaml:3: role 'guest' lacks max_clearance"),
        ("tenants.yaml", TENANTS + "  Tenant_B:\n    topics: [a]\n", "tenants.yaml:4: malformed tenant id 'Tenant_B'"),
        ("tenants.yaml", TENANTS + "  con:\n    topics: [a]\n", "tenants.yaml:4: malformed tenant id 'con'"),
        ("tenants.yaml", TENANTS + "  'a/../b':\n    topics: [a]\n", "tenants.yaml:4: malformed tenant id 'a/../b'"),
        ("tenants.yaml", TENANTS + "  'a ':\n    topics: [a]\n", "tenants.yaml:4: malformed tenant id 'a '"),
        ("tenants.yaml", TENANTS + "  12:\n    topics: [a]\n", "tenants.yaml:4: a name in tenants must be text"),
        (
            "tenants.yaml",
            TENANTS + "  tenant_a:\n    topics: [a]\n",
            "tenants.yaml:4: 'tenant_a' stands twice in tenants",
        ),
        ("tenants.yaml", TENANTS + "  tenant_b:\n", "tenants.yaml:4: tenant 'tenant_b' must be a mapping"),
        ("tenants.yaml", TENANTS + "  tenant_b:\n    topics: []\n", "tenants.yaml:5: tenant 'tenant_b' has no topics"),
        ("tenants.yaml", TENANTS + "  tenant_b: {}\n", "tenants.yaml:4: tenant 'tenant_b' has no topics"),
        ("tenants.yaml", TENANTS + "  b:\n    topics:\n      - A B\n", "tenants.yaml:6: malformed topic 'A B'"),
        ("tenants.yaml", TENANTS + "  b:\n    topics: [on]\n", "tenants.yaml:5: a topic of tenant 'b' must be text"),
        ("tenants.yaml", "tenants: {}\n", "tenants.yaml:1: the tenants file lists no tenant"),
        ("schema.cedarschema", "entity Tenant = {", "schema.cedarschema: error parsing schema"),
        ("access.cedar", "\n\n@id('a')\npermit(principal, action);", "access.cedar:3: in the policy that starts here"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, name: str, text: str, complaint: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ConfigurationError) as refusal:
        load_snapshot(folder)
    assert str(refusal.value).startswith(str(folder / complaint)), refusal.value
    assert "\n" not in str(refusal.value)


def test_bytes_that_are_not_text_are_named_with_their_line(folder: Path) -> None:
    (folder / "tenants.yaml").write_bytes(b"tenants:\n  \xff:\n")
    with pytest.raises(ConfigurationError, match=r"tenants\.yaml:2: not UTF-8"):
        load_snapshot(folder)


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("roles.yaml", "roles.yaml or roles.yml or roles.json is missing"),
        ("tenants.yaml", "tenants.yaml or tenants.yml or tenants.json is missing"),
        ("access.cedar", r"holds no \*.cedar file"),
        ("schema.cedarschema", "schema.cedarschema: No such file"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str, complaint: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match=complaint):
        load_snapshot(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent: no such folder"):
        load_snapshot(tmp_path / "absent")


def test_two_files_for_the_same_thing_are_refused(folder: Path) -> None:
    (folder / "roles.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"there twice: roles.yaml, roles.json"):
        load_snapshot(folder)


def test_json_will_do(folder: Path) -> None:
    (folder / "tenants.yaml").unlink()
    (folder / "tenants.json").write_text('{\n "tenants": {"acme": {"topics": ["law"]}}\n}\n')
    assert load_snapshot(folder).tenants["acme"].topics == {"law"}


def test_rules_may_be_spread_over_files(folder: Path) -> None:
    (folder / "more.cedar").write_text('// ours\n@id("more") forbid(principal, action, resource) when { false };\n')
    rule = load_snapshot(folder).engine.rules["more"]
    assert rule.source == f"{folder / 'more.cedar'}:2"


def test_the_version_is_the_content(folder: Path) -> None:
    original = load_snapshot(PACKAGED_POLICY).version
    assert load_snapshot(folder).version == original
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        assert load_snapshot(folder).version != original
        file.write_bytes(content)
    (folder / "access.cedar").rename(folder / "renamed.cedar")
    assert load_snapshot(folder).version != original
