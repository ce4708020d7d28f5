"""`vecsec policy diff` and `replay`: what changes for whom, over labels that exist and decisions that were recorded."""

import json
from pathlib import Path

import pytest
from support.cli_command import Command
from unit.workbench.recorded import Recorded

from vecsec_policy.settings import PACKAGED_POLICY

OLD = str(PACKAGED_POLICY)


def existing(level: str, topics: list[str], count: int, **attributes: object) -> dict[str, object]:
    return {
        "tenant_id": "tenant_a",
        "collection_id": "documents",
        "sensitivity": level,
        "topics": topics,
        "attributes": attributes,
        "document_count": count,
    }


@pytest.fixture
def labels(tmp_path: Path) -> str:
    file = tmp_path / "labels.json"
    rows = [
        existing("CONFIDENTIAL", ["rag"], 120),
        existing("PUBLIC", ["finance"], 7, owner="alice"),
        existing("PUBLIC", ["rag"], 30),
    ]
    file.write_text(json.dumps({"labels": rows}))
    return str(file)


def change(folder: Path, file: str, was: str, becomes: str) -> str:
    text = (folder / file).read_text()
    assert was in text
    (folder / file).write_text(text.replace(was, becomes))
    return str(folder)


def test_the_same_policy_changes_nothing(vecsec: Command, folder: Path, labels: str) -> None:
    (folder / "tenants.yaml").write_text((folder / "tenants.yaml").read_text() + "# a comment\n")
    arguments = ("policy", "diff", OLD, str(folder), "--labels", labels, "--fail-on", "any")
    assert vecsec.json(*arguments)["by_label"] == []
    assert "nothing changes for anybody, over 157 documents with 3 labels" in vecsec(*arguments).stdout


def test_who_gains_and_who_loses_is_counted_in_rows(vecsec: Command, folder: Path, labels: str) -> None:
    change(folder, "roles.yaml", "max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL")
    new = change(folder, "tenants.yaml", "[retrieval, rag, ", "[retrieval, ")
    found = vecsec.json("policy", "diff", OLD, new, "--labels", labels)
    changes = {
        (each["role"], each["caller_tenant_id"], each["action"]): (each["gained_rows"], each["lost_rows"])
        for each in found["by_label"]
    }
    assert changes == {("guest", "tenant_a", "read"): (0, 30), ("analyst", "tenant_a", "read"): (0, 30)}
    new = change(folder, "tenants.yaml", "[retrieval, ", "[retrieval, rag, finance, ")
    found = vecsec.json("policy", "diff", OLD, new, "--labels", labels)
    changes = {each["role"]: (each["gained_rows"], each["lost_rows"]) for each in found["by_label"]}
    assert changes == {"guest": (7, 0), "analyst": (127, 0)}
    example = next(each for each in found["by_label"] if each["role"] == "guest")["examples"]["gain"]
    label = {"tenant_id": "tenant_a", "sensitivity": 1, "topics": ["finance"], "owner": "alice"}
    assert json.loads(example["label"]) == label
    assert (example["before"], example["after"]) == ("refused (row-topics)", "allowed (operations)")


@pytest.mark.parametrize(
    ("was", "becomes", "fails_on"),
    [
        ("max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL", "gain"),
        ("max_clearance: INTERNAL", "max_clearance: PUBLIC\n    # and so on", ""),
        ("  guest:\n    operations: [read]", "  guest:\n    operations: []", "loss"),
        ("  analyst:\n    operations: [read]", "  analyst:\n    operations: [read, configure]", "gain"),
    ],
)
def test_a_gain_or_a_loss_fails_on_demand(
    vecsec: Command, folder: Path, labels: str, was: str, becomes: str, fails_on: str
) -> None:
    run = ("policy", "diff", OLD, change(folder, "roles.yaml", was, becomes), "--labels", labels, "--fail-on")
    for kind in ("nothing", "gain", "loss", "any"):
        fails = fails_on != "" and kind in {fails_on, "any"}
        vecsec(*run, kind, exit_code=1 if fails else 0)


def test_a_new_role_gains_what_it_may_and_entering_is_told(vecsec: Command, folder: Path, labels: str) -> None:
    role = "  auditor:\n    operations: [read]\n    max_clearance: SECRET\n    reads_across_tenants: true\n"
    (folder / "roles.yaml").write_text((folder / "roles.yaml").read_text() + role)
    found = vecsec.json("policy", "diff", OLD, str(folder), "--labels", labels)
    changes = {
        (each["role"], each["caller_tenant_id"]): (each["gained_rows"], each["may_enter"]) for each in found["by_label"]
    }
    assert changes["auditor", "tenant_a"] == (150, True)
    assert any(home != "tenant_a" and entered for (_, home), (_, entered) in changes.items())
    people = vecsec("policy", "diff", OLD, str(folder), "--labels", labels).stdout
    assert "auditors of tenant_a" in people
    assert "from now on" in people


def test_rules_about_subjects_are_compared_for_those_who_are_named(vecsec: Command, folder: Path, labels: str) -> None:
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) when { principal.subject == "alice" };'
    )
    run = ("policy", "diff", OLD, str(folder), "--labels", labels)
    assert vecsec.json(*run)["by_label"] == []
    changes = vecsec.json(*run, "--subject", "alice")["by_label"]
    assert {each["role"] for each in changes} == {"guest", "analyst", "superuser", "admin"}
    assert not any(each["gained_rows"] for each in changes)


def test_recorded_decisions_are_compared_too(vecsec: Command, folder: Path, recorded: Recorded) -> None:
    for _ in range(3):
        recorded.check("analyst", ("CONFIDENTIAL", "rag"), ("CONFIDENTIAL", "rag"), ("PUBLIC", "rag"))
    new = change(folder, "roles.yaml", "max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL")
    found = vecsec.json("policy", "diff", OLD, new, "--audit-log", str(recorded.path))
    assert found["recorded_decisions"] == 3
    [group] = found["by_recorded_decision"]
    assert (group["role"], group["gained_rows"], group["lost_rows"]) == ("analyst", 6, 0)


def test_a_replay_lists_what_would_be_decided_otherwise(vecsec: Command, folder: Path, recorded: Recorded) -> None:
    recorded.check("analyst", ("CONFIDENTIAL", "rag"), ("PUBLIC", "rag"), ("PUBLIC", "rag"))
    recorded.check("guest", ("PUBLIC", "rag"))
    recorded.check("guest", ("PUBLIC", "finance"), tenant_id="tenant_b")
    log = ("--audit-log", str(recorded.path))
    same = vecsec.json("policy", "replay", OLD, *log)
    assert (same["decisions"], same["differences"]) == (3, [])
    assert "no differences" in vecsec("policy", "replay", OLD, *log).stdout
    change(folder, "roles.yaml", "max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL")
    new = change(folder, "roles.yaml", "  guest:\n    operations: [read]", "  guest:\n    operations: [write]")
    found = vecsec.json("policy", "replay", new, *log, exit_code=1)
    told = {
        (each["role"], each["label"] is None, each["before"], each["after"]): (each["count"], each["after_rules"])
        for each in found["differences"]
    }
    assert told == {
        ("analyst", False, "refuse", "allow"): (1, "operations"),
        ("guest", True, "allow", "refuse"): (1, "no rule permits it"),
        ("guest", False, "allow", "refuse"): (1, "no rule permits it"),
    }
    assert {each["incident_id"] for each in found["differences"]} <= set(recorded.incidents)
    assert "refuse → allow" in vecsec("policy", "replay", new, *log, exit_code=1).stdout


def test_what_cannot_be_replayed_is_counted_and_named(vecsec: Command, folder: Path, recorded: Recorded) -> None:
    log = ("--audit-log", str(recorded.path))
    recorded.path.write_text('{"call": "check", "outcome": "allowed"}\n')
    assert "no recorded decision could be made" in vecsec("policy", "replay", OLD, *log, exit_code=5).stderr
    recorded.path.unlink()
    recorded.check("guest", ("PUBLIC", "rag"))
    with recorded.path.open("a") as lines:
        lines.write('{"kind":"decision","call":"check"}\nnonsense\n')
    found = vecsec.json("policy", "replay", OLD, *log)
    assert found["decisions"] == 1
    assert [each["place"].rpartition(":")[2] for each in found["not_replayed"]] == ["2", "3"]
    assert f"{recorded.path}:3: not replayed" in vecsec("policy", "replay", OLD, *log).stderr
    roles = (folder / "roles.yaml").read_text()
    (folder / "roles.yaml").write_text(roles.replace("  guest:", "  visitor:"))
    gone = vecsec.json("policy", "replay", str(folder), *log, exit_code=1)
    assert gone["unknown_roles"] == {"guest": 1}
    assert {each["after_rules"] for each in gone["differences"]} == {"unknown-role"}


def test_mistakes_are_named(vecsec: Command, tmp_path: Path, labels: str) -> None:
    assert "over which labels" in vecsec("policy", "diff", OLD, OLD, exit_code=2).stderr
    assert "--audit-log FILE" in vecsec("policy", "replay", OLD, exit_code=2).stderr
    odd = tmp_path / "odd.json"
    for text in ("[]", "{", '{"labels": [{}]}', '{"labels": [{"tenant_id": 1}]}'):
        odd.write_text(text)
        assert "not a file of labels" in vecsec("policy", "diff", OLD, OLD, "--labels", str(odd), exit_code=2).stderr
    absent = str(tmp_path / "absent")
    assert "policy check" in vecsec("policy", "diff", OLD, absent, "--labels", labels, exit_code=2).stderr
    assert "no token" in vecsec("policy", "diff", OLD, OLD, "--tenant", "tenant_a", exit_code=3).stderr
