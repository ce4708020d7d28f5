"""What callers choose bounds neither a record, nor what waits to be written, nor what is kept on the disk."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes, rule_attributes
from vecsec_chassis.settings import load_settings
from vecsec_policy.audit import writer as audit_file
from vecsec_policy.audit.disk import GrowthRate, hours_until_full
from vecsec_policy.audit.log import LogSettings, surplus_files
from vecsec_policy.audit.log_files import log_files
from vecsec_policy.audit.reading import decision_from_line
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, AuditRecord, DecidedLabel
from vecsec_policy.audit.verification import verify_log
from vecsec_policy.audit.writer import AuditFile, running_audit_file
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.settings import PolicySettings

ALLOWED = Verdict(allowed=True, rule_ids=())
WITHHELD = Verdict(allowed=False, rule_ids=("no-rule",))
IDENTITY = Identity("alice", "tenant_a", "guest", Sensitivity.PUBLIC, "issuer", 0.0)


def usual(number: int) -> Label:
    return Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag", f"topic-{number}"}))


def huge(seed: int = 0) -> Label:
    """The largest label that the contract lets through, of characters that JSON writes six bytes for each."""
    attributes = {
        f"attribute_{each}": frozenset(f"{seed}-{each}-{n}" + "é" * 50 for n in range(16)) for each in range(16)
    }
    return Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), canonical_attributes(dict(attributes)))


def record(*labels: Label, verdict: Verdict = ALLOWED, identity: Identity = IDENTITY) -> AuditRecord:
    return AuditRecord(
        1.0,
        AuditedCall.EXPLAIN,
        AuditedOutcome.ALLOWED,
        "request",
        "incident",
        identity,
        "tenant_a",
        Action.READ,
        "v1",
        rows=[(DecidedLabel.of(label, verdict), 2) for label in labels],
    )


def test_a_large_label_leaves_its_size_and_hash() -> None:
    fields = json.loads(record(huge(), verdict=WITHHELD).to_json())
    [row] = fields["withheld"]
    whole = json.dumps(rule_attributes(huge()), sort_keys=True, separators=(",", ":"))
    assert len(whole) > 70_000
    assert row["label_cut"]["bytes"] == len(whole)
    assert row["label_cut"]["sha256"] == hashlib.sha256(whole.encode()).hexdigest()
    assert "attribute_1" in row["label_cut"]["attributes"]
    assert {name: row["label"][name] for name in ("tenant_id", "sensitivity", "topics")} == {
        "tenant_id": "tenant_a",
        "sensitivity": int(Sensitivity.PUBLIC),
        "topics": ["rag"],
    }
    assert row["rule_ids"] == ["no-rule"]
    assert len(record(huge()).to_json()) < 12_000


def test_many_labels_leave_the_number_and_hash_of_those_beyond_the_bound() -> None:
    labels = [huge(seed) for seed in range(100)]
    text = replace(
        record(usual(1), verdict=WITHHELD), rows=record(*labels).rows + record(usual(1), verdict=WITHHELD).rows
    ).to_json()  # type: ignore[operator]
    assert len(text) < 300_000
    fields = json.loads(text)
    assert len(fields["withheld"]) == 1, "what was withheld is told before what was allowed"
    assert fields["allowed_count"] == 200
    left_out = fields["allowed_left_out"]
    assert left_out["label_count"] == 100 - len(fields["allowed"])
    assert left_out["row_count"] == 2 * left_out["label_count"]
    assert len(left_out["sha256"]) == 64


def test_what_is_cut_is_decided_again_by_nobody() -> None:
    line = f'{{"replica":"r","sequence":1,"previous":"{"0" * 64}",{record(usual(1), huge()).to_json()[1:]}'.encode()
    decision = decision_from_line(line)
    assert decision is not None
    assert ([rows.label for rows in decision.rows], decision.rows_left_out) == ([usual(1)], 2)


def test_a_thousand_usual_labels_are_recorded_whole() -> None:
    fields = json.loads(record(*map(usual, range(1_000))).to_json())
    assert len(fields["allowed"]) == 1_000
    assert "allowed_left_out" not in fields


def test_what_a_token_says_beside_the_usual_is_bounded() -> None:
    identity = replace(IDENTITY, attributes=(("note", "x" * 10_000), ("unit", "sales")))
    fields = json.loads(record(identity=identity).to_json())
    assert (fields["caller_attributes"], fields["caller_attributes_left_out"]) == ({"unit": "sales"}, 1)


def test_a_chain_with_cut_records_is_verified_as_any_other(tmp_path: Path, metrics: PolicyMetrics) -> None:
    with running_audit_file(LogSettings(tmp_path / "audit.jsonl"), metrics) as trail:
        for number in range(20):
            trail.append(record(huge(number), usual(number)))
    verified = verify_log(tmp_path / "audit.jsonl")
    assert (verified.findings, verified.record_count) == ([], 20)


def test_what_waits_is_bounded_by_bytes(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_WAITING_BYTES", 3 * record(huge()).weight())
    trail = AuditFile(LogSettings(tmp_path / "audit.jsonl"), metrics)
    for number in range(10):
        trail.append(record(huge(number)))
    trail.append(record(usual(1)))
    trail.close()
    trail.write_until_closed()
    assert trail._waiting_bytes == 0
    trail.append(record(huge()))
    assert trail._waiting_bytes == record(huge()).weight(), "there is room again"
    trail.release()
    written = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [each["kind"] for each in written] == ["decision"] * 3 + ["records_lost"]
    assert written[-1]["count"] == 8
    assert verify_log(tmp_path / "audit.jsonl").findings == []


def test_the_log_is_kept_to_its_size_and_stays_verifiable(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    settings = LogSettings(path, file_bytes=20_000, bytes_kept=100_000)
    for _ in range(3):
        with running_audit_file(settings, metrics) as trail:
            for number in range(200):
                trail.append(record(usual(number)))
    sizes = [file.stat().st_size for file in log_files(path)]
    assert 60_000 < sum(sizes) <= 100_000
    verified = verify_log(path)
    assert verified.findings == []
    assert "were removed because only so many are kept" in verified.notes[0].description
    assert verified.head.sequence >= 600


@pytest.mark.parametrize(
    ("sizes", "files_kept", "bytes_kept", "surplus"),
    [
        ([64] * 10, None, None, 0),
        ([64] * 10, 3, None, 7),
        ([64] * 10, None, 64 * 6, 5),
        ([64] * 10, 2, 64 * 6, 8),
        ([64] * 10, 9, 64 * 6, 5),
        ([64] * 10, None, 1, 9),
        ([900], None, 1, 0),
        ([], 1, 1, 0),
    ],
)
def test_surplus_files(sizes: list[int], files_kept: int | None, bytes_kept: int | None, surplus: int) -> None:
    settings = LogSettings(Path("x"), file_bytes=64, files_kept=files_kept, bytes_kept=bytes_kept)
    assert surplus_files(sizes, settings) == surplus


def test_when_the_disk_will_be_full() -> None:
    rate = GrowthRate()
    rate.note(0.0, 0)
    assert rate.per_second(60.0) == 0.0, "too short a time says nothing"
    for minute in range(1, 121):
        rate.note(minute * 60.0, minute * 60 * 1_000)
    assert rate.per_second(7_200.0) == pytest.approx(1_000.0)
    assert hours_until_full(36_000_000, 0, None, 1_000.0) == pytest.approx(10.0)
    assert hours_until_full(36_000_000, 50, 1_000_000, 1_000.0) == math.inf, "it will not become so large"
    assert hours_until_full(36_000_000, 0, 100_000_000, 1_000.0) == pytest.approx(10.0)
    assert hours_until_full(0, 0, None, 0.0) == math.inf
    for minute in range(121, 241):
        rate.note(minute * 60.0, 7_200_000)
    assert rate.per_second(14_400.0) == 0.0, "what was more than an hour ago counts no more"


def test_how_much_is_kept_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ISSUERS_FILE": "i", "GRANT_KEY_FILE": "k", "AUDIT_FILE": tmp_path / "a.jsonl"}.items():
        monkeypatch.setenv(f"VECSEC_{name}", str(value))
    kept = {}
    for value in (None, "500M", "all"):
        if value is not None:
            monkeypatch.setenv("VECSEC_AUDIT_BYTES_KEPT", value)
        kept[value] = load_settings(PolicySettings).audit_log.bytes_kept
    assert kept == {None: 8 << 30, "500M": 500 << 20, "all": None}
    kept_files = {}
    for value in ("500M", "all", None):
        monkeypatch.setenv("VECSEC_AUDIT_FILES_KEPT", "500")
        monkeypatch.setenv("VECSEC_AUDIT_BYTES_KEPT", value or "")
        if value is None:
            monkeypatch.delenv("VECSEC_AUDIT_BYTES_KEPT")
        settings = load_settings(PolicySettings).audit_log
        kept_files[value] = (settings.files_kept, settings.bytes_kept)
    assert kept_files == {"500M": (500, 500 << 20), "all": (500, None), None: (500, None)}
    monkeypatch.setenv("VECSEC_AUDIT_BYTES_KEPT", "much")
    with pytest.raises(ConfigurationError, match=r"VECSEC_AUDIT_BYTES_KEPT='much': .*such as 512M"):
        load_settings(PolicySettings)
