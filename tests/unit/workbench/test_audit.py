"""`vecsec audit`: verify, search and count."""

import contextlib
import json
from pathlib import Path

import pytest
from support.cli_command import Command
from unit.workbench.recorded import Recorded

from vecsec_chassis.domain.access import Action, Grant
from vecsec_policy.audit.foreign_use import ForeignUseRecord, ReportedUse
from vecsec_policy.audit.log import AuditLog, LogSettings
from vecsec_workbench.audit.records import RecordFilter, audit_log, records
from vecsec_workbench.leak_response.evidence import _CallerTotals


@pytest.fixture
def log(recorded: Recorded) -> Path:
    """A log of three checks by different callers."""
    recorded.check("analyst", ("INTERNAL", "rag"), ("SECRET", "rag"), ("SECRET", "rag"))
    recorded.check("guest", ("PUBLIC", "rag"))
    recorded.check("analyst", ("INTERNAL", "finance"))
    return recorded.path


def test_a_whole_log(vecsec: Command, log: Path) -> None:
    answer = vecsec.json("audit", "verify", "--file", str(log))
    assert (answer["is_whole"], answer["record_count"], answer["findings"]) == (True, 3, [])
    head = json.loads(log.read_text().splitlines()[-1])["hash"]
    assert answer["head"] == {"sequence": 3, "hash": head}
    printed = vecsec("audit", "verify", "--file", str(log), "--expect-head", head).stdout
    assert "whole: 3 records" in printed
    assert head in printed


def test_an_altered_record_is_named_with_file_line_and_number(vecsec: Command, log: Path) -> None:
    log.write_text(log.read_text().replace('"role":"guest"', '"role":"admin"'))
    answer = vecsec.json("audit", "verify", "--file", str(log), exit_code=1)
    [finding] = answer["findings"]
    assert (finding["kind"], finding["file"], finding["line"], finding["sequence"]) == ("altered", str(log), 2, 2)
    printed = vecsec("audit", "verify", "--file", str(log), exit_code=1).stdout
    assert "audit.jsonl:2" in printed
    assert "not whole" in printed


def test_removed_newest_records_are_seen_by_who_noted_a_head(vecsec: Command, log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    head = json.loads(lines[-1])["hash"]
    log.write_text("".join(lines[:-1]))
    vecsec("audit", "verify", "--file", str(log))
    [finding] = vecsec.json("audit", "verify", "--file", str(log), "--expect-head", head, exit_code=1)["findings"]
    assert finding["kind"] == "head_missing"


def test_the_rest_of_a_log_with_its_anchor(vecsec: Command, log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[1:]))
    assert vecsec.json("audit", "verify", "--file", str(log), exit_code=1)["findings"][0]["kind"] == "removed"
    anchor = json.loads(lines[0])["hash"]
    assert "follows the anchor" in vecsec("audit", "verify", "--file", str(log), "--anchor", anchor).stderr


def test_the_state_directory_says_where_the_log_is(vecsec: Command, log: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "audit").mkdir(parents=True)
    (state / "audit" / "policy.jsonl").write_bytes(log.read_bytes())
    assert vecsec.json("audit", "verify", "--state-dir", str(state))["record_count"] == 3
    missing = vecsec("audit", "verify", "--state-dir", str(tmp_path), exit_code=5)
    assert "no audit log is there" in missing.stderr


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [1, 2, 3]),
        (("--tenant", "tenant_a"), [1, 2, 3]),
        (("--tenant", "tenant_b"), []),
        (("--type", "clearance_violation"), [1]),
        (("--type", "topic_violation"), [3]),
        (("--call", "check", "--outcome", "allowed"), [1, 2, 3]),
        (("--call", "plan"), []),
        (("--since", "1h"), [1, 2, 3]),
        (("--until", "1h"), []),
        (("--since", "2000-01-01", "--until", "2001-01-01"), []),
        (("--caller", "nobody"), []),
        (("--limit", "2"), [2, 3]),
    ],
)
def test_search(vecsec: Command, log: Path, options: tuple[str, ...], numbers: list[int]) -> None:
    found = vecsec.json("audit", "search", "--file", str(log), *options)
    assert [record["sequence"] for record in found["records"]] == numbers
    assert found["match_count"] == (3 if "--limit" in options else len(numbers))


def test_search_by_incident(vecsec: Command, log: Path, recorded: Recorded) -> None:
    [record] = vecsec.json("audit", "search", "--file", str(log), "--incident", recorded.incidents[1])["records"]
    assert (record["sequence"], record["line"], record["role"]) == (2, 2, "guest")
    printed = vecsec("audit", "search", "--file", str(log), "--type", "clearance_violation").stdout
    assert "clearance_violation x2" in printed
    assert "1 of 3" in printed


def test_stats(vecsec: Command, log: Path) -> None:
    answer = vecsec.json("audit", "stats", "--file", str(log))
    assert answer["calls"] == [{"call": "check", "outcome": "allowed", "count": 3}]
    assert answer["violations"] == {"clearance_violation": 2, "topic_violation": 1}
    assert (answer["rows_allowed"], answer["rows_withheld"], answer["record_count"]) == (2, 3, 3)
    assert "topic_violation" in vecsec("audit", "stats", "--file", str(log)).stdout
    assert vecsec.json("audit", "stats", "--file", str(log), "--until", "1h")["record_count"] == 0


def test_who_acted_for_whom_is_shown(vecsec: Command, recorded: Recorded, log: Path) -> None:
    incident = recorded.check("analyst", ("PUBLIC", "finance"), actors=("assistant", "tool"))
    told = vecsec("audit", "search", "--file", str(log), "--incident", incident, COLUMNS="300").stdout
    assert "alice (analyst), by assistant, by tool" in told


def test_what_a_grant_across_tenants_was_used_for_is_found(vecsec: Command, log: Path) -> None:
    grant = Grant("eve", "tenant_x", "admin", "tenant_a", Action.READ, "", False, "v1", 0.0)
    use = ForeignUseRecord(
        1_700_000_000.0, grant, ReportedUse("0" * 32, "", 200, 400, 1_699_999_990.0, 1_800_000_000.0)
    )
    with contextlib.closing(AuditLog(LogSettings(log))) as opened:
        opened.add(use.to_json())
        opened.write()
    options = ("audit", "search", "--file", str(log), "--caller", "eve")
    for whose in ("tenant_a", "tenant_x"):
        [record] = vecsec.json(*options, "--tenant", whose)["records"]
        assert (record["kind"], record["calls"], record["rows"]) == ("foreign_access", 200, 400)
        assert record["last_time"] == record["time"], "nothing is of the future"
        assert "grant" not in record
    totals = _CallerTotals()
    for _ in range(2):
        for read in records(audit_log(log, None), RecordFilter(exact={"subject": "eve"})):
            totals.add(read)
    assert [(each["call"], each["count"]) for each in totals.document()["calls"]] == [("read at retrieval", 200)]  # type: ignore[attr-defined]
    printed = vecsec(*options, COLUMNS="300").stdout
    assert "foreign_access" in printed
    assert "400 in 200 calls" in printed
    assert vecsec.json("audit", "verify", "--file", str(log))["record_count"] == 4
