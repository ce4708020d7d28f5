"""Writes the audit trail to a file from a thread of its own, so that no decision waits for a disk."""

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from vecsec_chassis.errors import StartupError
from vecsec_policy.audit import AuditRecord
from vecsec_policy.metrics import PolicyMetrics

log = structlog.get_logger()

_WAITING_RECORDS = 100_000
_BATCH_RECORDS = 1_000
_RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.02
"""Records of this time go to the disk together: under load one wake-up and one sync for many decisions."""
_OWNER_ONLY = 0o600


class AuditFile:
    """An audit trail in a file of JSON lines: appended, and synced to disk batch by batch.

    What cannot be written is kept and tried again; when no more can be kept, records are given up, loudly and counted.
    A file that was moved away (logrotate) is made anew.
    """

    def __init__(self, path: Path, metrics: PolicyMetrics) -> None:
        """Open the file.

        Raises:
            StartupError: if it cannot be made or appended to: without a record there are no decisions.
        """
        self._path = path
        self._metrics = metrics
        self._records: queue.Queue[AuditRecord | None] = queue.Queue(_WAITING_RECORDS)
        self._unwritten = bytearray()
        self._closing = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _open(path)
        except OSError as error:
            raise StartupError(f"VECSEC_AUDIT_FILE={path}: cannot be appended to: {error.strerror or error}") from error

    def append(self, record: AuditRecord) -> None:
        """Take a record, without waiting for it to be written."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._metrics.audit_record_lost()

    def write_until_closed(self) -> None:
        """The writing thread's work: ends after `close`, when everything that can be written is."""
        while self._collect():
            # While the disk refuses, records wait in the queue, whose length is bounded.
            while not self._write() and not self._closing.wait(_RETRY_SECONDS):
                pass

    def close(self) -> None:
        """Tell the writing thread to finish."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread is not waiting for records
            self._records.put_nowait(None)

    def release(self) -> None:
        """Close the file, once the writing thread has ended; says what is lost."""
        if self._unwritten:
            log.error("audit records lost at shutdown", path=str(self._path), bytes=len(self._unwritten))
        os.close(self._descriptor)

    def _collect(self) -> bool:
        """Wait for records and take a batch; False once the trail is closed and nothing is left."""
        if self._closing.is_set() and self._records.empty():
            return False
        self._take(self._records.get())
        self._closing.wait(_GATHER_SECONDS)
        with contextlib.suppress(queue.Empty):
            for _ in range(_BATCH_RECORDS):
                self._take(self._records.get_nowait())
        return True

    def _take(self, record: AuditRecord | None) -> None:
        if record is not None:  # None only wakes the thread up
            self._unwritten += f"{record.to_json()}\n".encode()

    def _write(self) -> bool:
        """Whether everything that was collected is on the disk now."""
        try:
            self._follow_moved_file()
            while self._unwritten:
                # Only what the system took is dropped: a disk that fills up in the middle tears no line.
                written = os.write(self._descriptor, self._unwritten)
                del self._unwritten[:written]
            os.fsync(self._descriptor)
        except OSError as error:
            self._metrics.audit_write_failed()
            log.error("audit file cannot be written, trying again", path=str(self._path), error=error.strerror)
            return False
        return True

    def _follow_moved_file(self) -> None:
        try:
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return
        except FileNotFoundError:
            pass
        moved, self._descriptor = self._descriptor, _open(self._path)
        os.close(moved)


@contextlib.contextmanager
def running_audit_file(path: Path, metrics: PolicyMetrics) -> Iterator[AuditFile]:
    """An audit file with its writing thread; leaving the block waits until everything is written.

    Raises:
        StartupError: if the file cannot be appended to.
    """
    audit_file = AuditFile(path, metrics)
    thread = threading.Thread(target=audit_file.write_until_closed, name="audit-file", daemon=True)
    thread.start()
    try:
        yield audit_file
    finally:
        audit_file.close()
        thread.join()
        audit_file.release()


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)
