"""Keeps the index of violations up to the audit log, from a thread of its own."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog

from vecsec_chassis.background import running_in_thread
from vecsec_chassis.domain.errors import PolicyUnavailable
from vecsec_policy.audit.writer import AuditFile
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.violations.index import ViolationIndex, remove_index
from vecsec_policy.violations.queries import ViolationQueries

log = structlog.get_logger()

_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 1.5
"""How long a caller waits for the index to have everything that was decided before."""
_LOOK_AGAIN_SECONDS = 0.005
_NOT_OPEN = -1

Answer = TypeVar("Answer")


class ViolationIndexing:
    """An index of the violations in an audit log that follows the log."""

    def __init__(self, audit_file: AuditFile, folder: Path, metrics: PolicyMetrics) -> None:
        """`folder` is where the index lies."""
        self.audit_file = audit_file
        """The log that it follows."""
        self._metrics = metrics
        self._index_path = folder / f"{audit_file.path.stem}.violations.sqlite"
        self._news = threading.Event()
        self._closing = False
        self._is_damaged = False
        self._sequence = _NOT_OPEN
        audit_file.on_written = self._news.set
        self._queries = ViolationQueries(self._index_path)
        self.replica_id = audit_file.replica_id

    async def ask(self, query: Callable[[ViolationQueries], Answer]) -> Answer:
        """The answer to a query, off the event loop, with everything that was decided before.

        Where the log cannot be written, the answer is from what is in the log.

        Raises:
            PolicyUnavailable: if the index is not up to the log, as where it is just made anew from a long one.
        """
        await self._up_to_date()
        try:
            return await asyncio.to_thread(query, self._queries)
        except sqlite3.Error as error:
            self._is_damaged = True
            self._news.set()
            raise _not_ready(f"the index cannot be read: {error}") from error

    def follow_until_closed(self) -> None:
        """The thread's work: ends after `close`."""
        while not self._closing:
            try:
                self._follow()
            except (sqlite3.OperationalError, OSError) as error:
                # A full disk, a file that is locked: it may pass.
                self._failed("violation index cannot be written, trying again", error)
            except sqlite3.DatabaseError as error:
                self._failed("violation index is damaged, making it anew", error)
                remove_index(self._index_path)

    def close(self) -> None:
        """Tell the thread to finish."""
        self._closing = True
        self._news.set()

    async def _up_to_date(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                head = await self.audit_file.written() if self.audit_file.is_recording() else self.audit_file.head
                while self._sequence < head.sequence:  # noqa: ASYNC110 (another thread, and seldom longer than one look)
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError as error:
            raise _not_ready(f"the index has {self._sequence} records") from error

    def _follow(self) -> None:
        self._sequence = _NOT_OPEN
        index = ViolationIndex(self.audit_file.path, self._index_path)
        try:
            while not self._closing:
                self._news.clear()
                while index.read_some_more() and not self._closing:
                    self._sequence = index.sequence
                self._sequence = index.sequence
                if self._is_damaged:
                    self._is_damaged = False
                    raise sqlite3.DatabaseError("it could not be read")
                if not self._closing:  # `close` may have come before the event was cleared
                    self._news.wait()
        finally:
            index.close()

    def _failed(self, message: str, error: Exception) -> None:
        self._sequence = _NOT_OPEN
        self._metrics.violation_index_failures.add(1)
        log.error(message, path=str(self._index_path), error=str(error))
        self._news.wait(_RETRY_SECONDS)


def _not_ready(detail: str) -> PolicyUnavailable:
    return PolicyUnavailable(
        "violations are still being read from the audit log; try again in a moment",
        detail=detail,
        retry_after=_RETRY_SECONDS,
    )


@contextlib.contextmanager
def running_violation_index(audit_file: AuditFile, folder: Path, metrics: PolicyMetrics) -> Iterator[ViolationIndexing]:
    """An index in this folder, with its thread, until the block ends."""
    indexing = ViolationIndexing(audit_file, folder, metrics)
    with running_in_thread(indexing.follow_until_closed, indexing.close, "violation-index"):
        yield indexing
