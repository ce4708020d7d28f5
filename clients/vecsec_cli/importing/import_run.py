"""One import, apart from any network: what to send next, and what the answers mean for journal and report."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from vecsec_cli.importing.journal import Journal, Rejections
from vecsec_cli.importing.records import BadRecord, Passage, Source, SourceError, SourceRecord
from vecsec_cli.importing.replacing_rows import RowReplacement
from vecsec_cli.importing.unread import Unread
from vecsec_client import DocumentInput, DocumentsRejected, ImportProgress, RejectedDocument


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How an import ended."""

    stored: int
    """Documents that this run stored."""
    skipped: int
    """Documents that an earlier run of the same import had stored."""
    rejections: Rejections
    """Bad places of the source and documents that the services refused."""
    removed: int = 0
    """Passages of an earlier import that the source has no more and that were deleted."""
    staying: Mapping[str, int] = field(default_factory=dict)
    """How many passages of earlier imports stay, by file: files that the source has no more, or that were refused."""
    unread: tuple[Unread, ...] = ()
    """Files that were not read."""
    kept_labels: tuple[str, ...] = ()
    """Files that keep what they have of a label in the store, where the options say another."""
    lowered: tuple[str, ...] = ()
    """Files that say of themselves that they are less sensitive than what was stored of them."""
    not_pruned: str = ""
    """Why nothing was pruned, though that was asked for; empty otherwise."""

    @property
    def total(self) -> int:
        """Everything that the source has, as far as it was read."""
        return self.stored + self.skipped + self.rejections.count


class ImportRun:
    """Feeds documents to a client in the source's order, and keeps the journal by what the client says of them."""

    def __init__(
        self,
        source: Source,
        journal: Journal,
        *,
        strict: bool = False,
        on_bad: Callable[[BadRecord], None],
        replacement: RowReplacement | None = None,
    ) -> None:
        """`strict` stops reading at the first bad record; `on_bad` hears of each bad record as it is found;
        `replacement` takes away what the source's rows were stored as before."""
        self._source = source
        self._replacement = replacement
        self._journal = journal
        self._strict = strict
        self._on_bad = on_bad
        self._start = journal.settled
        self._passed = 0
        self._skipped = journal.settled - journal.refused.count
        self._stored = 0
        self._settled_in_this_run = 0
        self._under_way: deque[Passage] = deque()
        self._bad = Rejections()
        self.has_read_all = False
        """Whether the source was read to its end."""

    def documents(self) -> Iterator[DocumentInput]:
        """What is still to be stored. Bad records are reported while it is read, also those before the start point.

        Raises:
            SourceError: if the source cannot be read.
        """
        records = self._source.records()
        if self._replacement is not None:
            records = self._replacement.applied_to(records, self._held_back)
        for record in without_repeated_ids(records):
            if isinstance(record, BadRecord):
                self._found_bad(record)
                if self._strict:
                    return
                continue
            self._passed += 1
            if self._passed > self._start:
                self._under_way.append(record)
                yield record.document
        self.has_read_all = True

    def _held_back(self, record: BadRecord) -> None:
        """From here on the passages are others than those that the journal counted, and may be others again."""
        if self._passed < self._start:
            self._start = self._passed
            self._skipped = self._passed - self._journal.refused.count
        self._journal.forget()

    def settle(self, progress: ImportProgress) -> None:
        """Take in what the client says is settled."""
        count = progress.settled_count - self._settled_in_this_run
        passages = [self._under_way.popleft() for _ in range(count)]
        first_index = progress.settled_count - count
        refused = [refusal_of(passages[each.index - first_index], each) for each in progress.rejected]
        self._stored = progress.stored_count
        self._journal.settle(count, refused)
        self._settled_in_this_run = progress.settled_count
        for record in refused:
            self._on_bad(record)

    def stop(self, error: DocumentsRejected) -> None:
        """Take in that a strict import met documents which the services refuse."""
        for rejected in error.rejected:
            self._found_bad(refusal_of(self._under_way[rejected.index - self._settled_in_this_run], rejected))

    def finish(self) -> ImportResult:
        """Close the journal, if the source was read to its end; the result."""
        if self.has_read_all and not self._under_way:
            self._journal.finish(self._bad)
        return self.result()

    def result(self) -> ImportResult:
        """How far the import is."""
        return ImportResult(self._stored, self._skipped, self._journal.refused.plus(self._bad))

    def _found_bad(self, record: BadRecord) -> None:
        self._bad.add(record)
        self._on_bad(record)


def earlier_result(journal: Journal) -> ImportResult:
    """The result of an import that an earlier run finished."""
    return ImportResult(0, journal.settled - journal.refused.count, journal.refused.plus(journal.bad))


def refusal_of(passage: Passage, rejected: RejectedDocument) -> BadRecord:
    """What the services said of a passage."""
    return BadRecord.of(passage, "id" if rejected.field == "document_id" else rejected.field, rejected.reason)


def without_repeated_ids(records: Iterator[SourceRecord]) -> Iterator[SourceRecord]:
    """The same records, where a passage whose id an earlier one has is a bad record.

    Ids are remembered in a temporary SQLite database, which lives in memory while it is small and goes to disk after.

    Raises:
        SourceError: if the temporary database finds no room.
    """
    memory = sqlite3.connect("", isolation_level=None)
    try:
        memory.execute("PRAGMA journal_mode = OFF")
        memory.execute("CREATE TABLE seen (document_id TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID")
        memory.execute("BEGIN")
        for record in records:
            yield _once(memory, record) if isinstance(record, Passage) else record
    except sqlite3.Error as error:
        raise SourceError(f"cannot remember the ids in a temporary file: {error}") from error
    finally:
        memory.close()


def _once(memory: sqlite3.Connection, passage: Passage) -> SourceRecord:
    """The passage, if its id is new; it is remembered."""
    document_id = passage.document.document_id
    if memory.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (document_id, passage.place)).rowcount:
        return passage
    (first_place,) = memory.execute("SELECT place FROM seen WHERE document_id = ?", (document_id,)).fetchone()
    return BadRecord.of(passage, "id", f"{document_id!r} already stands at {first_place}")
