"""Writes the audit trail from a thread of its own, so that no decision waits for a disk."""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

import structlog

from vecsec_chassis.background import running_in_thread
from vecsec_policy.audit.chain import Head
from vecsec_policy.audit.disk import AuditDisk, GrowthRate, measured_disk
from vecsec_policy.audit.log import RECORDS_LOST, AuditLog, LogSettings
from vecsec_policy.audit.records import Record
from vecsec_policy.metrics import PolicyMetrics

log = structlog.get_logger()

_WAITING_RECORDS = 100_000
_WAITING_BYTES = 128 * 1024 * 1024
"""Callers choose how large their labels are, so that a number alone bounds nothing."""
_BATCH_RECORDS = 1_000
_BATCH_BYTES = 8 * 1024 * 1024
_RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.02
"""Records of this time go to the disk together: under load one wake-up and one sync for many decisions."""
_TELL_HEAD_SECONDS = 300.0
"""How often the log of the service, which is usually kept elsewhere, is told the head of the chain."""

Written = Callable[[Head], None]


class AuditFile:
    """An audit trail on disk, synced batch by batch.

    What cannot be written is kept and tried again; when no more can be kept, records are given up, loudly and counted,
    and the log itself says how many.
    """

    def __init__(self, settings: LogSettings, metrics: PolicyMetrics) -> None:
        """Open the log.

        Raises:
            ConfigurationError: if it cannot be made or appended to: without a record there are no decisions.
        """
        self.path = settings.path
        """Its newest file."""
        self._metrics = metrics
        self._log = AuditLog(settings)
        self._waiting: queue.SimpleQueue[Record | Written | None] = queue.SimpleQueue()
        # Each is counted up by one thread alone: the calls' and the writing one.
        self._appended_bytes = self._taken_bytes = 0
        self._when_written: list[Written] = []
        self._closing = threading.Event()
        self._lost = self._told_lost = 0
        self._told_head_at = -_TELL_HEAD_SECONDS
        self._told_head: Head | None = None
        self._is_failing = False
        self.on_recording: Callable[[bool], None] = lambda _recording: None
        """Called from the writing thread when records can no longer be written, and when they can again."""
        self.on_written: Callable[[], None] = lambda: None
        """Called from the writing thread when more is on the disk."""
        self._growth = GrowthRate()
        metrics.watch_audit(lambda: self._log.head.sequence, self.is_recording)
        metrics.watch_audit_disk(
            used_bytes=lambda: self.disk().used_bytes,
            free_bytes=lambda: self.disk().free_bytes,
            hours_until_full=lambda: self.disk().hours_until_full,
            waiting_bytes=lambda: self._waiting_bytes,
        )

    @property
    def replica_id(self) -> str:
        """Whose log it is."""
        return self._log.replica_id

    @property
    def head(self) -> Head:
        """The newest record on the disk."""
        return self._log.head

    def is_recording(self) -> bool:
        """Whether the last attempt to write went well."""
        return not self._is_failing

    def disk(self) -> AuditDisk:
        """How much room the log takes and has; asked for from any thread."""
        return measured_disk(self._log.path, self._log.bytes_kept, self._growth.per_second(time.monotonic()))

    @property
    def _waiting_bytes(self) -> int:
        return self._appended_bytes - self._taken_bytes

    def append(self, record: Record) -> None:
        """Take a record, without waiting for it to be written."""
        if not self.offer(record):
            self._lost += 1
            self._metrics.audit_records_lost.add(1)

    def offer(self, record: Record) -> bool:
        """The same for whoever brings a record again that could not be taken; whether it was."""
        weight = record.weight()
        if self._waiting.qsize() >= _WAITING_RECORDS or self._waiting_bytes + weight > _WAITING_BYTES:
            return False
        self._appended_bytes += weight
        self._waiting.put(record)
        return True

    async def written(self) -> Head:
        """Wait until everything that was appended before is on the disk; the head of the log then.

        Bound it by time: while no more can be kept, because the disk takes nothing, whoever asks is never told.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Head] = loop.create_future()

        def tell(head: Head) -> None:
            if not done.done():  # the caller may have gone
                done.set_result(head)

        def tell_from_thread(head: Head) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, head)

        if self._waiting.qsize() < _WAITING_RECORDS:  # else the disk has refused for long, and nobody can tell
            self._waiting.put(tell_from_thread)
        return await done

    def write_until_closed(self) -> None:
        """The writing thread's work: ends after `close`, when everything that can be written is."""
        try:
            self._write_until_done()  # what opening the log has to say
            while self._collect():
                self._write_until_done()
        finally:
            if not self._closing.is_set():  # whatever ended the thread, nothing is recorded any more
                self._set_failing(failing=True)

    def close(self) -> None:
        """Tell the writing thread to finish."""
        self._closing.set()
        self._waiting.put(None)

    def release(self) -> None:
        """Close the file, once the writing thread has ended; says what is lost."""
        if self._log.unwritten_bytes:
            log.error("audit records lost at shutdown", path=str(self.path), bytes=self._log.unwritten_bytes)
        self._log_head(now=float("inf"))
        self._log.close()

    def _collect(self) -> bool:
        """Wait for records and take a batch; False once the trail is closed and nothing is left."""
        if self._closing.is_set() and self._waiting.empty():
            return False
        taken = self._take(self._waiting.get())
        self._closing.wait(_GATHER_SECONDS)
        with contextlib.suppress(queue.Empty):
            for _ in range(_BATCH_RECORDS):
                if taken >= _BATCH_BYTES:
                    break
                taken += self._take(self._waiting.get_nowait())
        if self._lost > self._told_lost:
            lost, self._told_lost = self._lost - self._told_lost, self._lost
            log.error("audit records lost", path=str(self.path), records=lost)
            self._log.add_note(RECORDS_LOST, count=lost)
        return True

    def _take(self, item: Record | Written | None) -> int:
        """Put an item where it belongs; how many bytes of the log it makes."""
        if item is None:
            return 0  # it only wakes the thread up
        if callable(item):
            self._when_written.append(item)
            return 0
        text = item.to_json()
        self._log.add(text)
        self._taken_bytes += item.weight()
        return len(text)

    def _write_until_done(self) -> None:
        # While the disk refuses, records wait in the queue, whose length is bounded.
        while not self._write() and not self._closing.wait(_RETRY_SECONDS):
            pass

    def _write(self) -> bool:
        """Whether everything that was collected is on the disk now."""
        try:
            self._log.write()
        except OSError as error:
            self._metrics.audit_write_failures.add(1)
            log.error("audit file cannot be written, trying again", path=str(self.path), error=error.strerror)
            self._set_failing(failing=True)
            return False
        self._set_failing(failing=False)
        self._growth.note(time.monotonic(), self._log.written_bytes)
        self.on_written()
        waiting, self._when_written = self._when_written, []
        for tell in waiting:
            tell(self._log.head)
        self._log_head(time.monotonic())
        return True

    def _set_failing(self, *, failing: bool) -> None:
        if failing != self._is_failing:
            self._is_failing = failing
            self.on_recording(not failing)
            if not failing:
                log.info("audit file can be written again", path=str(self.path))

    def _log_head(self, now: float) -> None:
        head = self._log.head
        if head == self._told_head or now < self._told_head_at + _TELL_HEAD_SECONDS:
            return
        self._told_head, self._told_head_at = head, now
        log.info("audit head", replica=self._log.replica_id, sequence=head.sequence, hash=head.hash)


@contextlib.contextmanager
def running_audit_file(settings: LogSettings, metrics: PolicyMetrics) -> Iterator[AuditFile]:
    """An audit file with its writing thread; leaving the block waits until everything is written.

    Raises:
        ConfigurationError: if the file cannot be appended to.
    """
    audit_file = AuditFile(settings, metrics)
    try:
        with running_in_thread(audit_file.write_until_closed, audit_file.close, "audit-file"):
            yield audit_file
    finally:
        audit_file.release()
