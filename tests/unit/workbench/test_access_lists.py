"""Work at the desk with access lists: who could read a row, cases with groups, what a change means for whom."""

import json
from pathlib import Path

from support.cli_command import Command
from unit.workbench.recorded import Recorded

from vecsec_policy.settings import PACKAGED_POLICY

ROW = ("--sensitivity", "INTERNAL", "--topics", "rag")
ASKED = ("policy", "explain", "--tenant", "tenant_a", "--role", "analyst", *ROW)
LOOKED_UP = "containsAny(principal.reader_names)"
NOBODY = 'contains("user:nobody")'
OPEN = '@id("open") forbid (principal, action, resource is Document) when { resource has readers && false };'
LISTED = ("--reader", "group:finance", "--reader", "user:dan")
MEMBERSHIPS = """
tenants:
  tenant_a:
    finance: {people: [alice, {subject: bob, issuer: "https://idp.test"}], groups: [controlling]}
    controlling: {people: [carol]}
"""


def test_explain_says_who_could_read_a_row(vecsec: Command, folder: Path) -> None:
    (folder / "memberships.yaml").write_text(MEMBERSHIPS)
    [explained] = vecsec.json(*ASKED, *LISTED, "--policy", str(folder))["explanations"]
    assert [rule["rule_id"] for rule in explained["determining_rules"]] == ["row-readers"]
    assert explained["deciding_values"]["principal.reader_names"] == "[user:somebody]"
    found = explained["possible_readers"]
    assert [(each["role"], each["least_clearance"]) for each in found["roles"]] == [
        ("analyst", "INTERNAL"),
        ("superuser", "INTERNAL"),
        ("admin", "PUBLIC"),
    ]
    assert found["named_readers"] == [
        {"name": "group:finance", "people": ["alice", "bob (https://idp.test)", "carol"], "people_count": 3},
        {"name": "user:dan", "people": [], "people_count": 0},
    ]
    shown = vecsec(*ASKED, *LISTED, "--policy", str(folder)).stdout
    assert "who of its readers could read it" in shown
    assert "role analyst, cleared for INTERNAL or more" in shown
    assert "group:finance: alice, bob (https://idp.test), carol" in shown
    assert "principal.groups: as they are → and finance" in shown
    assert "resource.readers: [group:finance, user:dan] → [group:finance, user:dan, user:somebody]" in shown


def test_explain_takes_callers_groups_from_options_and_memberships(vecsec: Command, folder: Path) -> None:
    (folder / "memberships.yaml").write_text(MEMBERSHIPS)
    for caller in (("--group", "finance"), ("--group", "controlling"), ("--subject", "carol"), ("--subject", "dan")):
        [explained] = vecsec.json(*ASKED, *LISTED, *caller, "--policy", str(folder))["explanations"]
        assert explained["allowed"], caller


def test_a_row_without_readers_is_open_to_all_of_these_roles(vecsec: Command) -> None:
    [explained] = vecsec.json(*ASKED)["explanations"]
    assert explained["possible_readers"]["is_limited"] is False
    assert "who of its tenant could read it" in vecsec(*ASKED).stdout


def test_of_a_thousand_groups_the_few_that_matter_are_shown(vecsec: Command) -> None:
    groups = [part for number in range(300) for part in ("--group", f"g{number:03d}")]
    [explained] = vecsec.json(*ASKED, *LISTED, *groups, "--group", "finance")["explanations"]
    shown = explained["deciding_values"]
    assert "principal.reader_names" not in shown, "the rule that decides is that which permits"
    [refused] = vecsec.json(*ASKED, "--reader", "group:other", *groups)["explanations"]
    assert refused["deciding_values"]["principal.reader_names"].endswith(", and 281 more]")


def test_cases_have_groups_attributes_and_readers(vecsec: Command, tmp_path: Path) -> None:
    case = {
        "name": "a",
        "callers": {"tenants": ["tenant_a"], "roles": ["analyst"], "clearances": ["INTERNAL"], "groups": ["finance"]},
        "actions": ["read"],
        "tenants": ["tenant_a"],
        "rows": {"sensitivities": ["INTERNAL"], "topics": ["rag"], "readers": ["group:finance"]},
        "expect": {"decision": "ALLOW"},
    }
    other = {**case, "name": "b", "callers": {**case["callers"], "groups": ["sales"]}}  # type: ignore[dict-item]
    refused = {**other, "expect": {"decision": "WITHHOLD", "rules": ["row-readers"], "violation": "none"}}
    file = tmp_path / "cases" / "own.yaml"
    file.parent.mkdir()
    file.write_text(json.dumps({"cases": [case, refused]}))
    vecsec("policy", "test", str(file.parent))
    file.write_text(json.dumps({"cases": [case, other]}))
    assert "row-readers" in vecsec("policy", "test", str(file.parent), exit_code=1).stdout
    file.write_text(json.dumps({"cases": [{**case, "rows": {**case["rows"], "readers": ["finance"]}}]}))  # type: ignore[dict-item]
    assert "cases.rows.readers" in vecsec("policy", "test", str(file.parent), exit_code=2).stderr


def test_a_diff_sees_what_those_on_a_list_lose(vecsec: Command, folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    row = {
        "tenant_id": "tenant_a",
        "collection_id": "documents",
        "sensitivity": "INTERNAL",
        "topics": ["rag"],
        "attributes": {},
        "readers": ["group:finance", "user:dan"],
        "document_count": 5,
    }
    labels.write_text(json.dumps({"labels": [row]}))
    rules = (folder / "access.cedar").read_text()
    (folder / "access.cedar").write_text(rules.replace(LOOKED_UP, NOBODY))
    arguments = ("policy", "diff", str(PACKAGED_POLICY), str(folder), "--labels", str(labels))
    lost = {(each["role"], each["action"]): each["lost_rows"] for each in vecsec.json(*arguments)["by_label"]}
    assert lost[("analyst", "read")] == 5
    opened = rules.partition('@id("row-readers")')[0] + rules.partition("readers));\n")[2]
    (folder / "access.cedar").write_text(opened + OPEN)
    gained = {(each["role"], each["action"]): each["gained_rows"] for each in vecsec.json(*arguments)["by_label"]}
    assert gained[("analyst", "read")] == 5, "to those who are on no list"


def test_a_replay_decides_for_the_groups_that_were_recorded(vecsec: Command, recorded: Recorded, folder: Path) -> None:
    recorded.check("analyst", ("INTERNAL", "rag"), groups=("finance",), readers=("group:finance",))
    log = ("--audit-log", str(recorded.path))
    assert vecsec.json("policy", "replay", str(PACKAGED_POLICY), *log)["differences"] == []
    rules = (folder / "access.cedar").read_text()
    (folder / "access.cedar").write_text(rules.replace(LOOKED_UP, NOBODY))
    [change] = vecsec.json("policy", "replay", str(folder), *log, exit_code=1)["differences"]
    assert (change["before"], change["after"], change["after_rules"]) == ("allow", "refuse", "row-readers")


def test_a_replay_says_where_the_log_has_not_all_groups(vecsec: Command, recorded: Recorded) -> None:
    groups = ("finance", *(f"department-{number:04d}" for number in range(300)))
    recorded.check("analyst", ("INTERNAL", "rag"), groups=groups, readers=("group:finance",))
    done = vecsec("policy", "replay", str(PACKAGED_POLICY), "--audit-log", str(recorded.path))
    assert "no differences" in done.stdout
    assert "1 decisions were of callers with many groups" in done.stderr
