"""One import of files, apart from any network: what to send next, and what the answers mean for the report."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.import_run import ImportResult, refusal_of, without_repeated_ids
from vecsec_cli.importing.journal import Rejections
from vecsec_cli.importing.records import BadRecord, Passage, SourceRecord
from vecsec_cli.importing.trees.kept_labels import are_as_given, is_lowered, kept_fields
from vecsec_cli.importing.trees.stored_sources import StoredFiles
from vecsec_client import DocumentInput, DocumentsRejected, ImportProgress


class TreeRun:
    """Feeds passages to a client, file by file, but for those of files that the store has as they are."""

    def __init__(
        self,
        reader: FileTreeSource,
        stored: StoredFiles,
        *,
        again: bool,
        relabel: bool,
        strict: bool,
        on_bad: Callable[[BadRecord], None],
    ) -> None:
        """`again` sends all files; `relabel` keeps nothing of stored labels; `strict` stops reading at the
        first bad one; `on_bad` hears of each bad record."""
        self._reader = reader
        self._stored_files = stored
        self._again = again
        self._relabel = relabel
        self._strict = strict
        self._on_bad = on_bad
        self._skipped = self._stored = self._settled = 0
        self._under_way: deque[Passage] = deque()
        self._bad = Rejections()
        self._sent: dict[str, Counter[str]] = {}
        """By file, how many passages of it each source has that it is of."""
        self.removed = 0
        """By how many passages the files that were sent are shorter now."""
        self.parts: dict[str, int] = {}
        """Of how many sources each file is that is current, or was sent and not refused."""
        self.kept_labels: list[str] = []
        """The files that keep what they have of a label in the store, against the options."""
        self.lowered: list[str] = []
        """The files that say of themselves that they are less sensitive than what was stored of them."""
        self.has_read_all = False

    def documents(self) -> Iterator[DocumentInput]:
        """What is to be stored.

        Raises:
            SourceError: if the source cannot be read.
        """
        records = without_repeated_ids(self._reader.records(self._is_current, self._kept))
        for _, group in groupby(records, key=lambda record: (record.line, record.place)):
            for record in _whole(list(group)):
                if isinstance(record, BadRecord):
                    self._found_bad(record)
                    if self._strict:
                        return
                    continue
                if record.origin and record.document.source is not None:
                    self._sent.setdefault(record.origin, Counter())[record.document.source.source_id] += 1
                self._under_way.append(record)
                yield record.document
        self.has_read_all = True

    def settle(self, progress: ImportProgress) -> None:
        """Take in what the client says is settled."""
        count = progress.settled_count - self._settled
        passages = [self._under_way.popleft() for _ in range(count)]
        first_index = self._settled
        refused = [refusal_of(passages[each.index - first_index], each) for each in progress.rejected]
        lost = {passages[each.index - first_index].origin for each in progress.rejected}
        self._stored, self._settled = progress.stored_count, progress.settled_count
        for origin in lost & self._sent.keys():
            del self._sent[origin]
        for record in refused:
            self._found_bad(record)

    def stop(self, error: DocumentsRejected) -> None:
        """Take in that a strict import met documents which the services refuse."""
        for rejected in error.rejected:
            self._found_bad(refusal_of(self._under_way[rejected.index - self._settled], rejected))

    def finish(self) -> None:
        """All is settled: what was sent, and not refused, is what its files are now."""
        self.parts |= {file: len(sources) for file, sources in self._sent.items()}
        fewer = (self._stored_files.passages_of(file, parts) - parts.total() for file, parts in self._sent.items())
        self.removed = sum(each for each in fewer if each > 0)
        self.kept_labels = [file for file in self.kept_labels if file in self._sent]
        self.lowered = [file for file in self.lowered if file in self._sent]

    def result(self) -> ImportResult:
        """How far the import is."""
        return ImportResult(self._stored, self._skipped, self._bad)

    def _is_current(self, file: str, digest: str) -> bool:
        if self._again or not self._stored_files.is_current(file, digest):
            return False
        if self._relabel and not are_as_given(self._stored_files.labels_of(file), self._reader.defaults):
            return False
        self._skipped += self._stored_files.passages_of(file)
        self.parts[file] = self._stored_files.parts_of(file)
        return True

    def _kept(self, file: str, stated: Mapping[str, object]) -> Mapping[str, object]:
        labels = self._stored_files.labels_of(file)
        if not labels:
            return {}
        if is_lowered(stated, labels):
            self.lowered.append(file)
        kept = {} if self._relabel else kept_fields(stated, self._reader.defaults, labels)
        if kept:
            self.kept_labels.append(file)
        return kept

    def _found_bad(self, record: BadRecord) -> None:
        self._bad.add(record)
        self._on_bad(record)


def _whole(records: list[SourceRecord]) -> Iterable[SourceRecord]:
    """The records of one place: of a file, all or, where one is bad, what is wrong with it."""
    bad = [record for record in records if isinstance(record, BadRecord)]
    is_file = any(isinstance(record, Passage) and record.origin for record in records)
    return bad if bad and is_file else records
