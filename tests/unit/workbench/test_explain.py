"""`vecsec policy explain`, and the audit log's incidents."""

from pathlib import Path

from support.cli_command import Command
from unit.workbench.recorded import Recorded

ASKED = ("policy", "explain", "--tenant", "tenant_a", "--role", "analyst")


def test_a_refusal_is_explained_with_rules_values_and_the_smallest_change(vecsec: Command) -> None:
    [explained] = vecsec.json(*ASKED, "--sensitivity", "secret", "--topics", "rag")["explanations"]
    assert not explained["allowed"]
    assert [rule["rule_id"] for rule in explained["determining_rules"]] == ["row-clearance"]
    assert explained["deciding_values"]["principal.clearance"] == "INTERNAL"
    assert explained["remedies"][0] == [{"attribute": "resource.sensitivity", "before": "SECRET", "after": "INTERNAL"}]
    people = vecsec(*ASKED, "--sensitivity", "secret", "--topics", "rag").stdout
    assert "resource.sensitivity = SECRET" in people
    assert "resource.sensitivity: SECRET → INTERNAL" in people


def test_what_is_allowed_is_explained_too(vecsec: Command) -> None:
    [explained] = vecsec.json(*ASKED, "--sensitivity", "PUBLIC", "--topics", "rag", "--attribute", "owner=al")[
        "explanations"
    ]
    assert explained["allowed"]
    assert [rule["rule_id"] for rule in explained["determining_rules"]] == ["operations"]
    assert (explained["remedies"], explained["tried_changes"]) == ([], 0)


def test_a_policy_that_refuses_everything_has_no_remedy(vecsec: Command, folder: Path) -> None:
    (folder / "own.cedar").write_text('@id("own") forbid (principal, action, resource is Document);')
    shown = vecsec(*ASKED, "--sensitivity", "PUBLIC", "--topics", "rag", "--policy", str(folder)).stdout
    assert "neither one change nor two together would allow it" in shown


def test_an_incident_is_explained_from_the_audit_log(vecsec: Command, recorded: Recorded) -> None:
    incident = recorded.check("analyst", ("SECRET", "rag"), ("PUBLIC", "rag"))
    log = str(recorded.path)
    [explained] = vecsec.json("policy", "explain", "--incident", incident, "--audit-log", log)["explanations"]
    assert (explained["incident_id"], explained["label"]) == (
        incident,
        '{"sensitivity":4,"tenant_id":"tenant_a","topics":["rag"]}',
    )
    assert explained["remedies"]
    foreign = recorded.check("analyst", ("PUBLIC", "finance"), tenant_id="tenant_b")
    [entry] = vecsec.json("policy", "explain", "--incident", foreign, "--audit-log", log)["explanations"]
    assert entry["label"] is None
    assert [rule["rule_id"] for rule in entry["determining_rules"]] == ["stay-in-own-tenant"]
    assert entry["remedies"][0] == [{"attribute": "principal.tenant", "before": "tenant_a", "after": "tenant_b"}]


def test_another_version_of_the_policy_is_pointed_out(vecsec: Command, recorded: Recorded, folder: Path) -> None:
    incident = recorded.check("analyst", ("SECRET", "rag"))
    (folder / "tenants.yaml").write_text((folder / "tenants.yaml").read_text() + "\n")
    arguments = ("--incident", incident, "--audit-log", str(recorded.path), "--policy", str(folder))
    assert "explained by policy" in vecsec("policy", "explain", *arguments).stderr


def test_what_cannot_be_explained_is_said(vecsec: Command, recorded: Recorded, tmp_path: Path) -> None:
    log = str(recorded.path)
    recorded.check("analyst", ("SECRET", "rag"))
    assert "no incident 'x'" in vecsec("policy", "explain", "--incident", "x", "--audit-log", log, exit_code=5).stderr
    absent = str(tmp_path / "absent.jsonl")
    assert "no audit log" in vecsec("policy", "explain", "--incident", "x", "--audit-log", absent, exit_code=5).stderr
    assert "--audit-log FILE" in vecsec("policy", "explain", "--incident", "x", exit_code=2).stderr
    assert "--tenant and --role" in vecsec("policy", "explain", exit_code=2).stderr
    unknown = ("policy", "explain", "--tenant", "tenant_a", "--role", "king")
    assert "no role 'king'" in vecsec(*unknown, exit_code=2).stderr
    assert "must be one of PUBLIC" in vecsec(*ASKED, "--sensitivity", "HIGH", exit_code=2).stderr
