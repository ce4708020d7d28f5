"""`vecsec policy check`: one odd folder for each thing that it finds."""

from pathlib import Path

import pytest
from support.cli_command import Command

ROW = "principal, action, resource is Document"
OPEN = '@id("all") permit (principal, action, resource);\n'


def append(file: Path, text: str) -> int:
    """Add to a file; the line at which the addition starts."""
    before = file.read_text()
    file.write_text(before + text)
    return before.count("\n") + 1


def test_the_packaged_policy_is_clean_and_everything_was_tried(vecsec: Command) -> None:
    report = vecsec.json("policy", "check", "--strict")
    assert report["findings"] == []
    assert report["every_combination"]
    assert report["decisions"] > 1_500
    assert report["across_tenants"] == {}
    assert "no errors, no warnings" in vecsec("policy", "check").stdout


def test_every_error_is_listed_with_its_line_not_only_the_first(vecsec: Command, folder: Path) -> None:
    line = append(
        folder / "access.cedar",
        '@id("a") permit (principal, action, resource is Document) when { resource.colour == 1 && principal.age };\n'
        '@id("operations") forbid (principal, action, resource);\n'
        '@id("c") permit (principal);\n',
    )
    role_line = append(folder / "roles.yaml", "  intern:\n    operations: [reed]\n    max_clearance: PUBLIC\n")
    tenant_line = append(folder / "tenants.yaml", "  empty: {}\n  Bad:\n    topics: [a]\n")
    report = vecsec.json("policy", "check", str(folder), exit_code=1)
    found = [(Path(each["path"]).name, each["line"]) for each in report["findings"]]
    assert found == [
        ("roles.yaml", role_line + 1),
        ("tenants.yaml", tenant_line),
        ("tenants.yaml", tenant_line + 1),
        ("access.cedar", line),
        ("access.cedar", line),
        ("access.cedar", line + 1),
        ("access.cedar", line + 2),
    ]
    assert {each["severity"] for each in report["findings"]} == {"error"}
    people = vecsec("policy", "check", str(folder), exit_code=1).stdout
    assert f"{folder / 'access.cedar'}:{line + 1}: error" in people
    assert "is taken already" in people
    assert "7 errors" in people


def test_a_missing_folder_is_an_error(vecsec: Command, tmp_path: Path) -> None:
    [finding] = vecsec.json("policy", "check", str(tmp_path / "absent"), exit_code=1)["findings"]
    assert finding["path"] == str(tmp_path / "absent")
    assert finding["message"] == "no such folder"


@pytest.mark.parametrize(
    ("file", "text", "kind", "message"),
    [
        (
            "access.cedar",
            f'@id("odd") forbid ({ROW}) when {{ resource has ower && resource.ower == "x" }};',
            "unknown attribute",
            "resource.ower",
        ),
        (
            "access.cedar",
            f'@id("odd") forbid ({ROW}) when {{ resource has topics && resource.topics.contains("fiance") }};',
            "unknown topic",
            "'fiance'",
        ),
        (
            "access.cedar",
            '@id("odd") forbid (principal, action, resource) when { principal.clearance > 4 };',
            "unreachable rule",
            "'odd' decided none of all",
        ),
        (
            "access.cedar",
            '@id("odd") permit (principal, action, resource) when { principal.role == Role::"guest" && false };',
            "unreachable rule",
            "'odd'",
        ),
        ("roles.yaml", "  idle:\n    operations: []\n    max_clearance: PUBLIC\n", "unusable role", "no operations"),
        (
            "roles.yaml",
            f"  {'r' * 65}:\n    operations: [read]\n    max_clearance: PUBLIC\n",
            "unusable role",
            "no token can name",
        ),
        (
            "access.cedar",
            '@id("odd") forbid (principal, action, resource is Tenant) when { principal.role == Role::"guest" };',
            "unusable role",
            "role 'guest' may enter no tenant",
        ),
        (
            "access.cedar",
            f'@id("odd") forbid ({ROW}) when {{ principal.role == Role::"guest" }};',
            "unusable role",
            "role 'guest' may enter tenants, but never touch a row",
        ),
        (
            "access.cedar",
            '@id("odd") forbid (principal, action, resource is Document);',
            "forbids everything",
            "nobody may touch any row",
        ),
    ],
)
def test_what_is_legal_but_odd_is_a_warning_and_strict_refuses_it(
    vecsec: Command, folder: Path, file: str, text: str, kind: str, message: str
) -> None:
    line = append(folder / file, text + "\n")
    report = vecsec.json("policy", "check", str(folder))
    assert report["errors"] == 0
    found = [each for each in report["findings"] if each["kind"] == kind]
    assert any(message in each["message"] for each in found), report["findings"]
    if "odd" in message:
        assert (found[0]["path"], found[0]["line"]) == (str(folder / file), line)
    vecsec("policy", "check", str(folder), "--strict", exit_code=1)


def test_a_policy_that_always_permits_widens_tenant_isolation_for_every_role(vecsec: Command, folder: Path) -> None:
    (folder / "access.cedar").write_text(OPEN)
    report = vecsec.json("policy", "check", str(folder))
    widening = [each["message"] for each in report["findings"] if each["kind"] == "widens tenant isolation"]
    for role in ("guest", "analyst", "superuser", "admin"):
        beyond = "configure and delete and read and write"
        assert any(f"role '{role}' may {beyond} in tenants" in message for message in widening)
        assert any(f"role '{role}' may read a row labelled" in message for message in widening)
    assert sum(each["kind"] == "shows half-tagged rows" for each in report["findings"]) == 4
    assert "warning: widens tenant isolation" in vecsec("policy", "check", str(folder)).stdout
    vecsec("policy", "check", str(folder), "--strict", exit_code=1)


def test_a_hole_for_one_subject_and_one_region_is_found(vecsec: Command, folder: Path) -> None:
    rules = folder / "access.cedar"
    hole = 'principal.subject == "mallory" && resource has region && resource.region == "eu" ||'
    rules.write_text(
        rules.read_text().replace("unless { resource has tenant_id &&", f"unless {{ {hole} resource has tenant_id &&")
    )
    report = vecsec.json("policy", "check", str(folder))
    messages = [each["message"] for each in report["findings"] if each["kind"] == "widens tenant isolation"]
    assert messages
    assert all('region "eu"' in message for message in messages)


def test_a_role_whose_flag_says_so_may_cross(vecsec: Command, folder: Path) -> None:
    append(
        folder / "roles.yaml",
        "  auditor:\n    operations: [read]\n    max_clearance: SECRET\n    reads_across_tenants: true\n",
    )
    report = vecsec.json("policy", "check", str(folder), "--strict")
    assert report["across_tenants"]["auditor"] == ["read"]


def test_a_rule_that_ends_on_a_day_is_reachable(vecsec: Command, folder: Path) -> None:
    (folder / "own.cedar").write_text(f'@id("own") forbid ({ROW}) when {{ context.today < 20260101 }};')
    assert vecsec.json("policy", "check", str(folder), "--strict")["findings"] == []


def test_of_a_large_policy_a_sample_is_decided_and_says_so(
    vecsec: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_workbench.policy.lint._MOST_DECISIONS", 100)
    monkeypatch.setattr("vecsec_workbench.policy.lint._REQUESTS_SAMPLED", 60)
    (folder / "own.cedar").write_text(f'@id("own") forbid ({ROW}) when {{ principal.clearance > 4 }};')
    report = vecsec.json("policy", "check", str(folder))
    assert report["findings"] == []
    assert not report["every_combination"]
    assert "own" in report["undecided_rules"]
    assert "a sample" in vecsec("policy", "check", str(folder)).stdout
