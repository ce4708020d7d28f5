"""The audit trail on disk: whole lines, in order, nothing lost at shutdown, nothing lost to a disk that comes back."""

import asyncio
import errno
import json
import os
import socket
from dataclasses import fields
from pathlib import Path

import pytest
from support.waiting import wait_until

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.audit import writer as audit_file
from vecsec_policy.audit.log import LogSettings
from vecsec_policy.audit.log_files import log_files
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, AuditRecord
from vecsec_policy.audit.verification import verify_log
from vecsec_policy.audit.writer import AuditFile, running_audit_file
from vecsec_policy.metrics import PolicyMetrics


def record(number: int) -> AuditRecord:
    identity = Identity("zoë\ud800", "tenant_a", "analyst", Sensitivity.PUBLIC, "issuer", 0.0)
    return AuditRecord(
        1.0, AuditedCall.PLAN, AuditedOutcome.ALLOWED, str(number), "incident", identity, "tenant_a", Action.READ, "v1"
    )


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["request_id"]) for line in path.read_text().splitlines()]


def test_everything_is_on_disk_after_shutdown(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    for start in (0, 5_000):
        with running_audit_file(LogSettings(path), metrics) as trail:
            for number in range(start, start + 5_000):
                trail.append(record(number))
    assert numbers(path) == list(range(10_000))
    assert path.stat().st_mode & 0o777 == 0o600


def test_records_are_written_without_a_shutdown(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(LogSettings(path), metrics) as trail:
        trail.append(record(1))
        wait_until(lambda: numbers(path) == [1])


def test_a_file_that_cannot_be_appended_to_ends_the_start(tmp_path: Path, metrics: PolicyMetrics) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "audit.jsonl"):
        with pytest.raises(ConfigurationError, match="VECSEC_AUDIT_FILE"):
            AuditFile(LogSettings(path), metrics)


def test_a_rotated_file_is_made_anew(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(LogSettings(path), metrics) as trail:
        trail.append(record(1))
        wait_until(lambda: path.stat().st_size > 0)
        path.rename(tmp_path / "audit.jsonl.1")
        trail.append(record(2))
    assert numbers(tmp_path / "audit.jsonl.1") == [1]
    assert numbers(path) == [2]


def test_a_full_disk_tears_no_line_and_loses_nothing(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_RETRY_SECONDS", 0.01)
    path = tmp_path / "audit.jsonl"
    room = 100
    write = os.write

    def write_while_there_is_room(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, bytes(data[:room]))
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    with running_audit_file(LogSettings(path), metrics) as trail:
        for number in range(3):
            trail.append(record(number))
        wait_until(lambda: path.stat().st_size == 100)
        room = 1_000_000
    assert numbers(path) == [0, 1, 2]


def test_records_beyond_the_bound_are_given_up_at_once(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_WAITING_RECORDS", 2)
    trail = AuditFile(LogSettings(tmp_path / "audit.jsonl"), metrics)
    for number in range(5):
        trail.append(record(number))
    trail.close()
    trail.write_until_closed()
    trail.release()
    written = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["request_id"] for line in written[:2]] == ["0", "1"]
    assert (written[2]["kind"], written[2]["count"]) == ("records_lost", 3)
    assert "3 records were lost" in verify_log(tmp_path / "audit.jsonl").notes[0].description


async def test_who_waits_for_a_disk_that_hangs_takes_no_more_room_than_records(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_WAITING_RECORDS", 2)
    trail = AuditFile(LogSettings(tmp_path / "audit.jsonl"), metrics)
    asking = [asyncio.create_task(trail.written()) for _ in range(5)]
    await asyncio.sleep(0)
    assert trail._waiting.qsize() == 2
    trail.close()
    await asyncio.to_thread(trail.write_until_closed)
    done, waiting = await asyncio.wait(asking, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in done} == {trail.head}
    for task in waiting:
        task.cancel()
    trail.release()


def test_the_chain_goes_on_over_restarts_and_rotations(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    for start in range(0, 60, 20):
        with running_audit_file(LogSettings(path, file_bytes=5_000), metrics) as trail:
            for number in range(start, start + 20):
                trail.append(record(number))
    files = log_files(path)
    assert len(files) > 3
    assert all(file.stat().st_size <= 5_000 for file in files)
    assert [number for file in files for number in numbers(file)] == list(range(60))
    verified = verify_log(path)
    assert (verified.findings, verified.record_count, verified.head.sequence) == ([], 60, 60)
    assert verified.replica_id == socket.gethostname()


def test_a_log_belongs_to_one_replica_and_to_one_process(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(LogSettings(path, "replica-1"), metrics) as trail:
        trail.append(record(1))
        with pytest.raises(ConfigurationError, match="another policy service writes to it"):
            AuditFile(LogSettings(path, "replica-1"), metrics)
    with running_audit_file(LogSettings(path), metrics) as trail:
        assert trail.replica_id == "replica-1"
    with pytest.raises(
        ConfigurationError, match=r"VECSEC_REPLICA_ID='replica-2': the log .* belongs to replica 'replica-1'"
    ):
        AuditFile(LogSettings(path, "replica-2"), metrics)
    with pytest.raises(ConfigurationError, match="VECSEC_REPLICA_ID='no good'"):
        AuditFile(LogSettings(tmp_path / "new.jsonl", "no good"), metrics)


async def test_waiting_for_the_disk_tells_the_head(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(LogSettings(path), metrics) as trail:
        for number in range(3):
            trail.append(record(number))
        head = await trail.written()
        assert head.sequence == 3
        assert json.loads(path.read_text().splitlines()[-1])["hash"] == head.hash


class Unwritable(AuditRecord):
    """A record that ends the writing thread, as only a fault of ours could."""

    def to_json(self) -> str:
        raise TypeError("no JSON")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_trail_whose_thread_has_ended_does_not_seem_to_record(tmp_path: Path, metrics: PolicyMetrics) -> None:
    with running_audit_file(LogSettings(tmp_path / "audit.jsonl"), metrics) as trail:
        recording: list[bool] = []
        trail.on_recording = recording.append
        trail.append(Unwritable(**{field.name: getattr(record(1), field.name) for field in fields(AuditRecord)}))
        wait_until(lambda: recording == [False])
        assert not trail.is_recording()
