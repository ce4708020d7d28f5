"""An existing ChromaDB collection, read in a process of its own: the command line itself knows no ChromaDB."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.csv_table import Columns, split_topics
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.fields import split_readers
from vecsec_cli.importing.records import SourceError, SourceRecord, SourceSummary
from vecsec_cli.local.retrieval_module import ModuleFailed, output_of


@dataclass(frozen=True, slots=True)
class ChromaAddress:
    """Where a collection lies: `chroma:PATH#collection` or `chroma+http://host:port#collection`."""

    location: str
    collection: str
    is_remote: bool

    @classmethod
    def parse(cls, source: str) -> Self:
        """Take a source apart.

        Raises:
            SourceError: if it is not of the form above.
        """
        location, _, collection = source.removeprefix("chroma").partition("#")
        is_remote = location.startswith(("+http://", "+https://"))
        if not collection or not (is_remote or location.startswith(":")) or len(location) < 2:
            raise SourceError(f"not a collection: {source!r}; write chroma:PATH#NAME or chroma+http://HOST:PORT#NAME")
        return cls(location=location[1:], collection=collection, is_remote=is_remote)


@dataclass(frozen=True, slots=True)
class ChromaSource:
    """A collection of ChromaDB; its documents' metadata may hold sensitivity and topics."""

    address: ChromaAddress
    columns: Columns
    defaults: Defaults
    keep_embeddings: bool
    """Whether to take the stored vectors; otherwise the texts are embedded anew by the new collection's model."""

    @property
    def name(self) -> str:
        """Location and collection."""
        return f"{self.address.location}#{self.address.collection}"

    def summarise(self) -> SourceSummary:
        """Read the collection once to hash and count it; its files change also when they are only read.

        Raises:
            SourceError: if it cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        count = 0
        for _, line in self._lines():
            count += 1
            digest.update(line or b"")
        return SourceSummary(digest.hexdigest(), count)

    def records(self) -> Iterator[SourceRecord]:
        """One record a row, in the order in which the collection keeps them."""
        for number, line in self._lines():
            yield self._record(line, SourcePosition(f"{self.name}, row {number}", number))

    def _lines(self) -> Iterator[tuple[int, bytes | None]]:
        where = "--url" if self.address.is_remote else "--path", self.address.location
        try:
            with output_of("vecsec_retrieval.repair.dump", *where, "--collection", self.address.collection) as rows:
                yield from byte_lines.lines(rows)
        except ModuleFailed as failure:
            raise SourceError(f"cannot read {self.name}: {failure}") from failure

    def _record(self, line: bytes | None, place: SourcePosition) -> SourceRecord:
        row = json.loads(line or b"{}")
        metadata = dict(row.get("metadata") or {})
        for key in filter(self.columns.is_nearly_of_a_label, metadata):
            reason = "would become metadata, not a label; options (--sensitivity-column and the like) name the keys"
            return bad_record(place, reason, field=f"metadata.{key}", document_id=row.get("id"))
        topics = metadata.pop(self.columns.topics, None)
        fields: dict[str, object] = {
            "id": row.get("id"),
            "text": row.get("text"),
            "sensitivity": metadata.pop(self.columns.sensitivity, None),
            "topics": split_topics(topics) if isinstance(topics, str) else topics,
            "metadata": {
                key: value for key, value in metadata.items() if value is not None and key != self.columns.readers
            },
            "embedding": row.get("embedding") if self.keep_embeddings else None,
        }
        if self.columns.readers in row.get("metadata", {}):
            readers = metadata.pop(self.columns.readers)
            fields["readers"] = split_readers(readers) if isinstance(readers, str) else readers
        return record_of(fields, place, self.defaults)
