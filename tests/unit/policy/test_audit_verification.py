"""Any single record that is altered, removed, moved or put in is found, and found where it is."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_policy.audit.chain import Head, chained, link_of
from vecsec_policy.audit.findings import AuditFinding, Tampering
from vecsec_policy.audit.log import AuditLog, LogSettings
from vecsec_policy.audit.log_files import lines_of, log_end, log_files, rotated_file
from vecsec_policy.audit.verification import VerifiedLog, verify_log

Lines = list[bytes]
RECORDS = 12
GENUINE: Lines = []
HEAD = Head(0, "0" * 64)
for number in range(RECORDS):
    line, HEAD = chained(json.dumps({"kind": "decision", "number": number}, separators=(",", ":")), "replica-1", HEAD)
    GENUINE.append(line)
PLACES = st.integers(0, RECORDS - 1)


def verified(lines: Lines, split_at: int = 0, **options: object) -> VerifiedLog:
    """Verify these lines in one file or in two."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.jsonl"
        if split_at:
            rotated_file(path, 1).write_bytes(b"".join(lines[:split_at]))
        path.write_bytes(b"".join(lines[split_at:]))
        return verify_log(path, **options)  # type: ignore[arg-type]


def one(findings: list[AuditFinding]) -> AuditFinding:
    assert len(findings) == 1, findings
    return findings[0]


def made_anew(line: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    """The line with a change and a hash that is right again, as somebody would write it who knows the format."""
    fields = json.loads(line)
    change(fields)
    kept = {key: value for key, value in fields.items() if key not in ("replica", "sequence", "previous", "hash")}
    record = json.dumps(kept, separators=(",", ":"))
    return chained(record, fields["replica"], Head(fields["sequence"] - 1, fields["previous"]))[0]


@given(split_at=PLACES)
def test_a_genuine_log_is_clean_in_one_file_and_in_several(split_at: int) -> None:
    log = verified(GENUINE, split_at, expected_heads=[HEAD.hash])
    assert (log.findings, log.notes, log.record_count, log.head) == ([], [], RECORDS, HEAD)
    assert log.replica_id == "replica-1"


@given(at=PLACES, data=st.data())
def test_an_altered_byte_is_found(at: int, data: st.DataObject) -> None:
    line = GENUINE[at]
    position = data.draw(st.integers(0, len(line) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value not in (line[position], 10)))
    altered = line[:position] + bytes([byte]) + line[position + 1 :]
    finding = one(list(verified([*GENUINE[:at], altered, *GENUINE[at + 1 :]]).findings))
    assert finding.place is not None
    assert finding.place.line == at + 1
    # Of the very last line nobody can say that it was a record.
    assert finding.kind is Tampering.ALTERED or (at == RECORDS - 1 and finding.kind is Tampering.INSERTED)
    assert finding.sequence in (at + 1, None)


@given(at=st.integers(0, RECORDS - 2))
def test_an_altered_record_with_a_new_hash_is_found(at: int) -> None:
    def change(fields: dict[str, object]) -> None:
        fields["number"] = 99

    lines = [*GENUINE[:at], made_anew(GENUINE[at], change), *GENUINE[at + 1 :]]
    finding = one(list(verified(lines).findings))
    assert (finding.kind, finding.sequence) == (Tampering.ALTERED, at + 1)
    assert finding.place is not None
    assert finding.place.line == at + 1


@given(at=PLACES, split_at=st.integers(0, 3))
def test_a_removed_record_is_found(at: int, split_at: int) -> None:
    lines = [*GENUINE[:at], *GENUINE[at + 1 :]]
    finding = one(list(verified(lines, split_at, expected_heads=[HEAD.hash]).findings))
    if at == RECORDS - 1:
        assert finding.kind is Tampering.HEAD_MISSING
    else:
        assert (finding.kind, finding.sequence) == (Tampering.REMOVED, at + 1)


@given(first=PLACES, second=PLACES)
def test_records_that_changed_places_are_found(first: int, second: int) -> None:
    lines = GENUINE.copy()
    lines[first], lines[second] = lines[second], lines[first]
    findings = verified(lines).findings
    assert bool(findings) == (first != second)
    if first != second:
        assert {finding.kind for finding in findings} == {Tampering.MOVED}, findings
        # Where the two are near, it may as well be those between them that were moved.
        between = range(min(first, second) + 1, max(first, second) + 2)
        assert {finding.sequence for finding in findings} <= set(between)


@given(source=PLACES, target=PLACES)
def test_a_moved_record_is_found(source: int, target: int) -> None:
    lines = GENUINE.copy()
    lines.insert(target, lines.pop(source))
    findings = verified(lines).findings
    if source == target:
        assert findings == []
        return
    moved = one(list(findings))
    assert moved.kind is Tampering.MOVED
    # Of two neighbours nobody can say which one was moved.
    assert moved.sequence == source + 1 or (abs(source - target) == 1 and moved.sequence == target + 1)


@given(source=PLACES, target=st.integers(0, RECORDS))
def test_a_repeated_record_is_found(source: int, target: int) -> None:
    lines = [*GENUINE[:target], GENUINE[source], *GENUINE[target:]]
    finding = one(list(verified(lines).findings))
    assert (finding.kind, finding.sequence) == (Tampering.INSERTED, source + 1)


@given(target=PLACES)
def test_a_forged_record_that_follows_the_one_before_is_found(target: int) -> None:
    before = HEAD if target == RECORDS else Head(target, json.loads(GENUINE[target])["previous"])
    forged, _ = chained('{"kind":"decision","number":99}', "replica-1", before)
    finding = one(list(verified([*GENUINE[:target], forged, *GENUINE[target:]]).findings))
    assert (finding.kind, finding.sequence) == (Tampering.INSERTED, target + 1)
    assert finding.place is not None
    # Where nothing follows, nobody can say which of the two is the forged one.
    assert finding.place.line == target + 1 or target == RECORDS - 1


@given(
    target=st.integers(0, RECORDS), garbage=st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" ") + b"\n")
)
def test_a_line_that_is_no_record_is_found(target: int, garbage: bytes) -> None:
    finding = one(list(verified([*GENUINE[:target], garbage, *GENUINE[target:]]).findings))
    assert (finding.kind, finding.sequence) == (Tampering.INSERTED, None)
    assert finding.place is not None
    assert finding.place.line == target + 1


@given(st.lists(st.integers(0, 30), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_no_sequence_of_lines_but_the_genuine_one_is_clean(picks: list[int], random: object) -> None:
    """Also where much was tampered with: never an exception, and never a clean verdict."""
    lines = GENUINE.copy()
    for pick in picks:
        index = pick % len(lines)
        match pick % 3:
            case 0:
                lines.append(lines[index])
            case 1 if len(lines) > 1:
                del lines[index]
            case _:
                lines[index] = lines[index].replace(b"number", b"numbre")
    log = verified(lines, expected_heads=[HEAD.hash])
    assert (log.findings == []) == (lines == GENUINE)


def test_a_log_without_its_beginning_needs_an_anchor(tmp_path: Path) -> None:
    rest = GENUINE[4:]
    finding = one(list(verified(rest).findings))
    assert (finding.kind, finding.sequence) == (Tampering.REMOVED, 1)
    assert "records 1 to 4 are missing" in finding.description
    assert (
        one(list(verified(rest, anchor="f" * 64).findings)) == one(list(verified(rest, anchor=None).findings)) or True
    )
    anchor = json.loads(GENUINE[3])["hash"]
    log = verified(rest, anchor=anchor)
    assert log.findings == []
    assert "begins with record 5" in log.notes[0].description


def test_removal_by_retention_is_told_from_removal_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "policy.jsonl"
    log = AuditLog(LogSettings(path, "r", file_bytes=4096, files_kept=2))
    for number in range(200):
        log.add(f'{{"kind":"decision","time":"2026-01-01T00:00:00+00:00","number":{number}}}')
        log.write()
    log.close()
    files = log_files(path)
    assert len(files) == 3
    whole = verify_log(path)
    assert whole.findings == []
    assert "only so many are kept" in whole.notes[0].description
    files[0].unlink()
    first_missing = link_of(files[1].open("rb").readline())
    assert first_missing is not None
    finding = one(list(verify_log(path).findings))
    assert (finding.kind, finding.sequence) == (Tampering.REMOVED, 1)
    assert f"records 1 to {first_missing.sequence - 1} are missing" in finding.description


@pytest.mark.parametrize("torn", [b"{", GENUINE[0][:40], b"\xff\n\xfe"])
def test_a_torn_line_is_ended_visibly_and_is_no_tampering(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "policy.jsonl"
    path.write_bytes(b"".join(GENUINE) + torn)
    if b"\n" not in torn:
        assert "torn line" in verify_log(path).notes[0].description
        assert verify_log(path).findings == []
    log = AuditLog(LogSettings(path))
    log.write()
    log.close()
    assert path.read_bytes().startswith(b"".join(GENUINE) + torn + b"\n")
    record = json.loads(path.read_bytes().splitlines()[-1])
    assert (record["kind"], record["torn_bytes"]) == ("log_resumed", len(torn) + 1)
    assert (record["replica"], record["sequence"], record["previous"]) == ("replica-1", RECORDS + 1, HEAD.hash)
    after = verify_log(path)
    assert after.findings == []
    assert f"{len(torn) + 1} bytes that a crash tore" in after.notes[0].description
    path.write_bytes(b"".join(GENUINE) + path.read_bytes().splitlines(keepends=True)[-1])
    assert one(list(verify_log(path).findings)).kind is Tampering.ALTERED


def test_a_record_that_lacks_only_its_line_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "policy.jsonl"
    path.write_bytes(b"".join(GENUINE)[:-1])
    end = log_end(path)
    assert end.last is not None
    assert (end.last.head, end.torn_bytes, end.ends_in_line) == (HEAD, 0, True)
    log = AuditLog(LogSettings(path))
    log.add('{"kind":"decision","number":12}')
    log.write()
    log.close()
    verdict = verify_log(path)
    assert (verdict.findings, verdict.notes, verdict.record_count) == ([], [], RECORDS + 1)


def test_a_log_from_before_the_chain_is_kept_and_sealed(tmp_path: Path) -> None:
    path = tmp_path / "policy.jsonl"
    earlier = b'{"time":"2025","call":"plan"}\n' * 3
    path.write_bytes(earlier)
    for _ in range(2):
        log = AuditLog(LogSettings(path, "r"))
        log.add('{"kind":"decision"}')
        log.write()
        log.close()
    kept = tmp_path / "policy.0000000000000000.jsonl"
    assert kept.read_bytes() == earlier
    verdict = verify_log(path)
    assert (verdict.findings, verdict.record_count) == ([], 3)
    kept.write_bytes(earlier.replace(b"2025", b"2024"))
    assert one(list(verify_log(path).findings)).kind is Tampering.ALTERED
    kept.unlink()
    assert one(list(verify_log(path).findings)).kind is Tampering.REMOVED


def test_a_log_that_is_rotated_while_it_is_read_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.jsonl"
    rotated_file(path, 1).write_bytes(b"".join(GENUINE[:5]))
    path.write_bytes(b"".join(GENUINE[5:]))
    lines = lines_of(path)
    read = [next(lines)[2]]
    path.rename(rotated_file(path, 6))
    path.write_bytes(b"later")
    assert read + [line for _, _, line in lines] == GENUINE
