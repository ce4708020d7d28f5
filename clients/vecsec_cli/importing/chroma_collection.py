"""An existing ChromaDB collection, read in a process of its own: the command line itself knows no ChromaDB."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.csv_table import Columns, split_topics
from vecsec_cli.importing.documents import Defaults, Place, record_of
from vecsec_cli.importing.records import Record, SourceError, Survey

_DATABASE = "chroma.sqlite3"


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

    def survey(self) -> Survey:
        """Hash the database file; a server has nothing to hash, so an import from there starts anew each time.

        Raises:
            SourceError: if there is no database.
        """
        if self.address.is_remote:
            return Survey(None, None)
        content = byte_lines.survey(Path(self.address.location) / _DATABASE).fingerprint or ""
        digest = hashlib.blake2b(f"{content}\0{self.address.collection}".encode(), digest_size=16)
        return Survey(fingerprint=digest.hexdigest(), expected=None)

    def records(self) -> Iterator[Record]:
        """One record a row, in the order in which the collection keeps them."""
        where = ["--url" if self.address.is_remote else "--path", self.address.location]
        command = [sys.executable, "-m", "vecsec_retrieval.dump", *where, "--collection", self.address.collection]
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,  # noqa: S603 (our own module)
        ):
            assert process.stdout is not None
            try:
                for number, line in byte_lines.lines(process.stdout):
                    yield self._record(line, Place(f"{self.name}, row {number}", number))
                status = process.wait()
            finally:
                process.kill()
            if status != 0:
                reason = _last_line(complaints) or f"the reader ended with status {status}"
                raise SourceError(f"cannot read {self.name}: {reason}")

    def _record(self, line: bytes | None, place: Place) -> Record:
        row = json.loads(line or b"{}")
        metadata = dict(row.get("metadata") or {})
        topics = metadata.pop(self.columns.topics, None)
        fields = {
            "id": row.get("id"),
            "text": row.get("text"),
            "sensitivity": metadata.pop(self.columns.sensitivity, None),
            "topics": split_topics(topics) if isinstance(topics, str) else topics,
            "metadata": {key: value for key, value in metadata.items() if value is not None},
            "embedding": row.get("embedding") if self.keep_embeddings else None,
        }
        return record_of(fields, place, self.defaults)


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
