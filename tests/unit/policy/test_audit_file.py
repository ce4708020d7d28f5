"""The audit trail on disk: whole lines, in order, nothing lost at shutdown, nothing lost to a disk that comes back."""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vecsec_chassis.access import Action, Identity
from vecsec_chassis.errors import StartupError
from vecsec_chassis.labels import Sensitivity
from vecsec_policy import audit_file
from vecsec_policy.audit import AuditedCall, AuditRecord, Outcome
from vecsec_policy.audit_file import AuditFile, running_audit_file
from vecsec_policy.metrics import PolicyMetrics


def record(number: int) -> AuditRecord:
    identity = Identity("zoë\ud800", "tenant_a", "analyst", Sensitivity.PUBLIC, "issuer", 0.0)
    return AuditRecord(
        1.0, AuditedCall.PLAN, Outcome.ALLOWED, str(number), "incident", identity, "tenant_a", Action.READ, "v1"
    )


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["request_id"]) for line in path.read_text().splitlines()]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everything_is_on_disk_after_shutdown(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    for start in (0, 5_000):
        with running_audit_file(path, metrics) as trail:
            for number in range(start, start + 5_000):
                trail.append(record(number))
    assert numbers(path) == list(range(10_000))
    assert path.stat().st_mode & 0o777 == 0o600


def test_records_are_written_without_a_shutdown(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(path, metrics) as trail:
        trail.append(record(1))
        eventually(lambda: numbers(path) == [1])


def test_a_file_that_cannot_be_appended_to_ends_the_start(tmp_path: Path, metrics: PolicyMetrics) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "audit.jsonl"):
        with pytest.raises(StartupError, match="VECSEC_AUDIT_FILE"):
            AuditFile(path, metrics)


def test_a_rotated_file_is_made_anew(tmp_path: Path, metrics: PolicyMetrics) -> None:
    path = tmp_path / "audit.jsonl"
    with running_audit_file(path, metrics) as trail:
        trail.append(record(1))
        eventually(lambda: path.stat().st_size > 0)
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
    with running_audit_file(path, metrics) as trail:
        for number in range(3):
            trail.append(record(number))
        eventually(lambda: path.stat().st_size == 100)
        room = 1_000_000
    assert numbers(path) == [0, 1, 2]


def test_records_beyond_the_bound_are_given_up_at_once(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_WAITING_RECORDS", 2)
    trail = AuditFile(tmp_path / "audit.jsonl", metrics)
    for number in range(5):
        trail.append(record(number))
    trail.close()
    trail.write_until_closed()
    trail.release()
    assert numbers(tmp_path / "audit.jsonl") == [0, 1]
