"""Decisions are read back from the log as they were made, so that they can be made again under another policy."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.audit_log import read_decisions

from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.log import LogSettings
from vecsec_policy.audit.reading import RecordedRows
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, AuditRecord, DecidedLabel
from vecsec_policy.audit.writer import running_audit_file
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.metrics import PolicyMetrics

IDENTITY = Identity("zoë\n\ud800", "tenant_a", "analyst", Sensitivity.INTERNAL, "issuer", 9.0)
PLAIN = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag", "ünïcode"}))
RICH = Label("tenant_a", None, frozenset(), (("hold", True), ("owners", frozenset({"b", "a"})), ("year", 1)))
ALLOWED = Verdict(True, ("read-rows",))
REFUSED = Verdict(False, ("row-clearance", "row-topics"), ViolationType.CLEARANCE)


def test_a_check_is_read_back_with_the_labels_of_all_its_rows(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(LogSettings(path), metrics) as trail:
        trail.append(
            AuditRecord(
                time=86_400.5,
                call=AuditedCall.CHECK,
                outcome=AuditedOutcome.ALLOWED,
                request_id="request",
                incident_id="incident",
                identity=IDENTITY,
                tenant_id="tenant_b",
                action=Action.READ,
                policy_version="v1",
                rule_ids=("enter-any-tenant",),
                violations={ViolationType.CLEARANCE: 1},
                rows=[
                    (DecidedLabel.of(PLAIN, ALLOWED), 2),
                    (DecidedLabel.of(RICH, ALLOWED), 1),
                    (DecidedLabel.of(RICH, REFUSED), 1),
                ],
            )
        )
    (decision,) = read_decisions(path)
    assert decision.rows == (
        RecordedRows(PLAIN, 2, allowed=True),
        RecordedRows(RICH, 1, allowed=True),
        RecordedRows(RICH, 1, allowed=False, violation=ViolationType.CLEARANCE, rule_ids=REFUSED.rule_ids),
    )
    fields = json.loads(path.read_text())
    assert (fields["allowed_count"], fields["withheld_count"]) == (3, 1)
    assert decision.time == datetime(1970, 1, 2, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (decision.subject, decision.caller_tenant_id, decision.role) == ("zoë\n\ud800", "tenant_a", "analyst")
    assert decision.claimed_clearance is Sensitivity.INTERNAL
    assert (decision.tenant_id, decision.action, decision.rule_ids) == ("tenant_b", Action.READ, ("enter-any-tenant",))
    assert decision.violations == {ViolationType.CLEARANCE: 1}


def test_lines_that_are_no_records_are_left_out_and_broken_records_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"kind":"deci\n{"kind":"log_resumed","torn_bytes":13}\n{"kind":"decision"')
    assert list(read_decisions(path)) == []
    path.write_text('\n{"kind":"decision"}\n')
    with pytest.raises(ValueError, match=r"audit\.jsonl:2: not a record of a decision: KeyError: 'sequence'"):
        list(read_decisions(path))
