"""A folder of files, or one file: each becomes passages, which come and go together.

What a file says of itself (front matter) is its label and metadata, for all of its passages, and no part of its text.
Title and headings are embedded with each passage that they stand over, and stand in its metadata, too.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecsec_cli.importing.csv_table import Columns
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.fields import BadField
from vecsec_cli.importing.file_bytes import content_of
from vecsec_cli.importing.formats import OF_PARTS, OF_ROWS, SourceFormat, format_of, kind_of
from vecsec_cli.importing.readers import html_page, markdown_file, restructured_text, text_file
from vecsec_cli.importing.readers.documents.isolated import DocumentReader
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_cli.importing.readers.text_bytes import decoded
from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord, SourceSummary
from vecsec_cli.importing.row_files import row_source
from vecsec_cli.importing.row_splitting import split_rows
from vecsec_cli.importing.trees.file_versions import digest_of, is_of_known_parts, marked
from vecsec_cli.importing.trees.listing import TreeListing
from vecsec_cli.importing.unread import UnreadFiles
from vecsec_cli.importing.walking import Found, TreeOptions, files_of
from vecsec_client.splitting.documents import in_context
from vecsec_client.splitting.packing import Lengths, passages
from vecsec_client.splitting.packing import Passage as TextPassage

Kept = Callable[[str, Mapping[str, object]], Mapping[str, object]]
"""What is kept of the stored label of a file, by its path and what it states."""
_OWN_METADATA = ("path", "passage", "headings", "page")
_TEXT_READERS = {
    SourceFormat.TEXT: text_file.read,
    SourceFormat.MARKDOWN: markdown_file.read,
    SourceFormat.HTML: html_page.read,
    SourceFormat.RST: restructured_text.read,
}


def _never(file: str, digest: str) -> bool:
    """No file is known."""
    return False


def _nothing(file: str, stated: Mapping[str, object]) -> Mapping[str, object]:
    """Nothing is kept of any file."""
    return {}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read."""

    tree: TreeOptions = field(default_factory=TreeOptions)
    lengths: Lengths | None = field(default_factory=Lengths)
    """How long passages are; None for a passage a file."""
    file_format: SourceFormat | None = None
    """Of a single file; by its name if None."""
    read_as: Mapping[str, SourceFormat] = field(default_factory=dict)
    """Formats by suffix, beside those that are known."""
    encoding: str | None = None
    """Of all texts; by their first bytes if None."""
    columns: Columns = field(default_factory=Columns)
    """Of tables."""


@dataclass(frozen=True, slots=True)
class FileTreeSource:
    """A file, or all files below a folder."""

    root: Path
    defaults: Defaults
    options: FileOptions = field(default_factory=FileOptions)
    unread: UnreadFiles = field(default_factory=UnreadFiles, compare=False)
    """What the latest reading left out."""
    listing: TreeListing = field(default_factory=TreeListing, compare=False)
    """What the latest reading found in which folders."""

    @property
    def name(self) -> str:
        """The file or folder as given."""
        return str(self.root)

    @property
    def is_folder(self) -> bool:
        """Whether it may have lost files since an earlier import."""
        return self.root.is_dir()

    def summarise(self) -> SourceSummary:
        """Hash names and content of the files.

        Raises:
            SourceError: if the folder cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        count = 0
        for found in files_of(self.root, self.options.tree, _nobody):
            count += 1
            digest.update(f"{found.identifier}\0".encode("utf-8", "surrogateescape") + _hash_of(found.path))
        return SourceSummary(fingerprint=digest.hexdigest(), expected=count)

    def records(self, is_current: Callable[[str, str], bool] = _never, kept: Kept = _nothing) -> Iterator[SourceRecord]:
        """The passages of each file, in the order of the files' names; without those of files that are said to be
        stored as they are, by path and digest. `kept` says what holds of the label that is stored of a file, by path
        and what the file states; it may raise BadField."""
        self.unread.clear()
        self.listing.clear()
        with DocumentReader() as documents:
            yield from self._records(documents, is_current, kept)

    def _records(
        self, documents: DocumentReader, is_current: Callable[[str, str], bool], kept: Kept
    ) -> Iterator[SourceRecord]:
        found_files = files_of(self.root, self.options.tree, self._left_out, self.listing)
        for number, found in enumerate(found_files, start=1):
            file_format = self.options.file_format or format_of(found.path.name, self.options.read_as)
            if file_format is None:
                self.unread.add(kind_of(found.path.name), "no reader; --read-as names one", found.identifier)
            elif file_format in OF_ROWS:
                yield from self._rows(found, file_format, number)
            else:
                options = self.options
                digest = digest_of(_hash_of(found.path), file_format, self.defaults, options.lengths, options.encoding)
                if not is_current(found.identifier, digest):
                    yield from self._file_records(found, number, self._reader(file_format, documents), digest, kept)

    def _rows(self, found: Found, file_format: SourceFormat, number: int) -> Iterator[SourceRecord]:
        """The documents of a file that has many; its bad rows are reported one by one."""
        is_bad = False
        source = row_source(found.path, file_format, self.options.columns, self.defaults, self.options.encoding)
        lengths = self.options.lengths
        try:
            for record in split_rows(source.records(), lengths) if lengths else source.records():
                is_bad = is_bad or isinstance(record, BadRecord)
                yield record
        except SourceError as error:
            self.unread.add(kind_of(found.path.name), "no table or list of documents", found.identifier)
            yield bad_record(SourcePosition(str(found.path), number), error.message, document_id=found.identifier)
        else:
            if is_bad:
                self.unread.add(kind_of(found.path.name), "read in part: some of its rows are bad", found.identifier)

    def _left_out(self, kind: str, reason: str, name: str, is_wanted: bool) -> None:
        self.unread.add(kind, reason, name, is_wanted=is_wanted)

    def _reader(self, file_format: SourceFormat, documents: DocumentReader) -> Callable[[Path], Reading]:
        if file_format in OF_PARTS:
            return lambda path: documents.read(path, file_format)
        lengths = self.options.lengths
        longest = lengths.longest_whole if lengths else 0
        read = _TEXT_READERS[file_format]
        return lambda path: read(decoded(content_of(path), self.options.encoding), longest)

    def _file_records(
        self, found: Found, number: int, read: Callable[[Path], Reading], digest: str, kept: Kept
    ) -> Iterator[SourceRecord]:
        place = SourcePosition(str(found.path), number)
        try:
            reading = read(found.path)
            records = list(self._passage_records(reading, found.identifier, place, kept))
        except NotRead as failure:
            self.unread.add(kind_of(found.path.name), failure.reason, found.identifier)
            at = place if failure.line is None else _line(place, failure.line)
            yield bad_record(at, str(failure), document_id=found.identifier)
            return
        # A file is taken whole or not at all, and what is wrong with all of its passages is said once.
        bad = [record for record in records if isinstance(record, BadRecord)][:1]
        if bad:
            self.unread.add(kind_of(found.path.name), f"{bad[0].field}: cannot be stored", found.identifier)
        whole = list(marked([each for each in records if isinstance(each, Passage)], found.identifier, digest))
        if not bad and not is_of_known_parts(whole, found.identifier):
            self.unread.add(kind_of(found.path.name), "has too many passages", found.identifier)
            reason = "has too many passages for a file of this name; --passage-size makes longer ones"
            bad = [bad_record(place, reason, document_id=found.identifier)]
        yield from bad or whole

    def _passage_records(
        self, reading: Reading, identifier: str, place: SourcePosition, kept: Kept
    ) -> Iterator[SourceRecord]:
        metadata = reading.fields.get("metadata", {})
        own = [key for key in _OWN_METADATA if isinstance(metadata, dict) and key in metadata]
        if own:
            reason = "says where a passage stands; give what the front matter says another name"
            bad = bad_record(place, reason, field=f"metadata.{own[0]}", document_id=identifier)
            yield _at_its_line(bad, reading, place)
            return
        try:
            stated = {**reading.fields, **kept(identifier, reading.fields)}
        except BadField as problem:
            bad = bad_record(place, problem.reason, field=problem.field, document_id=identifier)
            yield _at_its_line(bad, reading, place)
            return
        parts = self._parts(reading)
        title = reading.title
        if isinstance(metadata, dict):
            metadata = {**({"title": title} if title else {}), **metadata}
            title = metadata["title"] if isinstance(metadata.get("title"), str) else title
        for index, part in enumerate(parts, start=1):
            text, headings = in_context(part, title)
            where: dict[str, object] = {"path": identifier}
            where |= {"passage": index} if len(parts) > 1 else {}
            where |= {"headings": headings} if headings else {}
            where |= {"page": part.page} if part.page is not None else {}
            fields = {
                **stated,
                "id": identifier if len(parts) == 1 else f"{identifier}#{index}",
                "text": text,
                "metadata": {**metadata, **where} if isinstance(metadata, dict) else metadata,
            }
            record = record_of(fields, place, self.defaults)
            yield (
                _at_its_line(record, reading, place)
                if isinstance(record, BadRecord)
                else replace(record, origin=identifier)
            )

    def _parts(self, reading: Reading) -> list[TextPassage]:
        if self.options.lengths is None:
            whole = "\n\n".join(block.text for block in reading.blocks)
            return [TextPassage(whole)]
        return list(passages(reading.blocks, self.options.lengths)) or [TextPassage("")]


def _nobody(kind: str, reason: str, name: str, is_wanted: bool) -> None:
    """Hears what is left out of a first look."""


def _hash_of(path: Path) -> bytes:
    digest = hashlib.blake2b()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:  # the reading names it
        digest.update(str(error.errno).encode())
    return digest.digest()


def _line(place: SourcePosition, line: int) -> SourcePosition:
    return SourcePosition(f"{place.shown}:{line}", place.line)


def _at_its_line(record: BadRecord, reading: Reading, place: SourcePosition) -> BadRecord:
    """The same, with the line of the front matter that is bad, if it is one."""
    line = reading.line_of(record.field)
    return record if line is None else replace(record, place=_line(place, line).shown)
