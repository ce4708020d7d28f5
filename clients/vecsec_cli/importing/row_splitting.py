"""Rows with long texts as passages, wherever the rows come from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vecsec_cli.importing.documents import SourcePosition, bad_record
from vecsec_cli.importing.records import BadRecord, Source, SourceRecord, SourceSummary
from vecsec_client.splitting.documents import split_document
from vecsec_client.splitting.packing import Lengths


@dataclass(frozen=True, slots=True)
class SplitSource:
    """A source of rows, the long ones of them in passages."""

    source: Source
    lengths: Lengths

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def summarise(self) -> SourceSummary:
        """That of the source.

        Raises:
            SourceError: if it cannot be read.
        """
        return self.source.summarise()

    def records(self) -> Iterator[SourceRecord]:
        """The source's records; passages of a row follow one another."""
        return split_rows(self.source.records(), self.lengths)


def split_rows(records: Iterable[SourceRecord], lengths: Lengths) -> Iterator[SourceRecord]:
    """The same records, the long ones of them in passages. A row with an embedding stays whole."""
    for record in records:
        if isinstance(record, BadRecord):
            yield record
            continue
        row = record.document
        try:
            parts = split_document(row, lengths)
        except ValueError as problem:
            place = SourcePosition(record.place, record.line)
            yield bad_record(place, f"too long for one passage, but {problem}", document_id=row.document_id)
        else:
            yield from (replace(record, document=each, row=row.document_id, parts=len(parts)) for each in parts)
