"""A folder of `.txt` and `.md` files: a document a file, and long files in passages.

A Markdown file's front matter is its label and metadata, for all of its passages, and no part of its text.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.front_matter import BadFrontMatter, FrontMatter, split_front_matter
from vecsec_cli.importing.records import BadRecord, SourceError, SourceRecord, SourceSummary

PASSAGE_CHARACTERS = 2000
"""A file up to this long is one document; what is longer is split at headings and paragraphs."""

_MAX_FILE_BYTES = 16 << 20
_MARKDOWN = frozenset({".md", ".markdown"})
_SUFFIXES = _MARKDOWN | {".txt"}
_OWN_METADATA = ("path", "passage")
_PASSAGE_ID = re.compile(r"(.+\.(?:md|markdown|txt))(?:#[1-9][0-9]*)?", re.IGNORECASE)
_BLOCK_BREAK = re.compile(r"\n(?=#{1,6} )|\n\s*\n")


@dataclass(frozen=True, slots=True)
class TextFolderSource:
    """All text and Markdown files below a folder; hidden ones are left out, links are not followed."""

    folder: Path
    defaults: Defaults
    held_back: Mapping[str, int] = field(default_factory=dict)
    """Files to refuse, by their path in the folder, for so many surplus passages of an earlier import that stay."""

    @property
    def name(self) -> str:
        """The folder as given."""
        return str(self.folder)

    def summarise(self) -> SourceSummary:
        """Hash names and content of the files.

        Raises:
            SourceError: if the folder has no such files, or one cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr(sorted(self.held_back.items())).encode("utf-8", "surrogateescape"))
        count = 0
        for path in self._files():
            count += 1
            try:
                content = hashlib.blake2b(path.read_bytes()).digest() if _readable_size(path) else b""
            except OSError as error:
                raise SourceError(f"cannot read {path}: {error.strerror}") from error
            digest.update(f"{path.relative_to(self.folder)}\0".encode("utf-8", "surrogateescape") + content)
        if not count:
            raise SourceError(f"no .txt or .md files below {self.folder}")
        return SourceSummary(fingerprint=digest.hexdigest(), expected=count)

    def records(self) -> Iterator[SourceRecord]:
        """The passages of each file, in the order of the files' names."""
        for number, path in enumerate(self._files(), start=1):
            yield from self._file_records(path, number)

    def _files(self) -> Iterator[Path]:
        for path in sorted(self.folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
            if path.suffix.lower() in _SUFFIXES and not hidden and not path.is_symlink() and path.is_file():
                yield path

    def _file_records(self, path: Path, number: int) -> Iterator[SourceRecord]:
        identifier = path.relative_to(self.folder).as_posix()
        place = SourcePosition(str(path), number)
        if identifier in self.held_back:
            reason = (
                f"left as it was: {self.held_back[identifier]} passages of an earlier import, which it has no more, "
                "cannot be deleted with this token; import it with one of a role that may delete"
            )
            yield bad_record(place, reason, document_id=identifier)
            return
        if not _readable_size(path):
            yield bad_record(place, f"larger than {_MAX_FILE_BYTES >> 20} MiB", document_id=identifier)
            return
        try:
            text = path.read_bytes().decode("utf-8-sig")
            front = split_front_matter(text) if path.suffix.lower() in _MARKDOWN else FrontMatter(text)
        except UnicodeDecodeError as error:
            yield bad_record(place, f"not valid UTF-8 at byte {error.start + 1}", document_id=identifier)
        except OSError as error:
            yield bad_record(place, f"cannot be read: {error.strerror}", document_id=identifier)
        except BadFrontMatter as bad:
            yield bad_record(_line(place, bad.line), bad.reason, document_id=identifier)
        else:
            records = list(self._passage_records(front, identifier, place))
            # A file is taken whole or not at all, and what is wrong with all of its passages is said once.
            yield from [record for record in records if isinstance(record, BadRecord)][:1] or records

    def _passage_records(self, front: FrontMatter, identifier: str, place: SourcePosition) -> Iterator[SourceRecord]:
        metadata = front.fields.get("metadata", {})
        own = [key for key in _OWN_METADATA if isinstance(metadata, dict) and key in metadata]
        if own:
            reason = "says where a passage stands; give what the front matter says another name"
            bad = bad_record(place, reason, field=f"metadata.{own[0]}", document_id=identifier)
            yield _at_its_line(bad, front, place)
            return
        parts = passages(front.body)
        for index, part in enumerate(parts, start=1):
            whole = len(parts) == 1
            where = {"path": identifier} if whole else {"path": identifier, "passage": index}
            fields = {
                **front.fields,
                "id": identifier if whole else f"{identifier}#{index}",
                "text": part,
                "metadata": {**metadata, **where} if isinstance(metadata, dict) else metadata,
            }
            record = record_of(fields, place, self.defaults)
            yield _at_its_line(record, front, place) if isinstance(record, BadRecord) else record


def file_of(document_id: str) -> str | None:
    """The file, by its path in its folder, of which this would be a passage's id; None if it could be none's."""
    found = _PASSAGE_ID.fullmatch(document_id)
    return None if found is None else found[1]


def _line(place: SourcePosition, line: int) -> SourcePosition:
    return SourcePosition(f"{place.shown}:{line}", place.line)


def _at_its_line(record: BadRecord, front: FrontMatter, place: SourcePosition) -> BadRecord:
    """The same, with the line of the front matter that is bad, if it is one."""
    line = front.line_of(record.field)
    return record if line is None else replace(record, place=_line(place, line).shown)


def _readable_size(path: Path) -> bool:
    return path.stat().st_size <= _MAX_FILE_BYTES


def passages(text: str) -> list[str]:
    """Split a text into passages of at most `PASSAGE_CHARACTERS`, at headings and paragraphs where it has them.

    A short text is one passage, even if it is blank. A heading starts a passage.
    """
    if len(text) <= PASSAGE_CHARACTERS:
        return [text.strip()]
    found: list[str] = []
    current = ""
    for block in _blocks(text):
        starts_section = block.startswith("#")
        if current and (starts_section or len(current) + len(block) + 2 > PASSAGE_CHARACTERS):
            found.append(current)
            current = ""
        current = f"{current}\n\n{block}" if current else block
    return [*found, current] if current else found


def _blocks(text: str) -> Iterator[str]:
    for block in _BLOCK_BREAK.split(text.replace("\r\n", "\n")):
        remainder = block.strip()
        while len(remainder) > PASSAGE_CHARACTERS:
            cut = _cut_position(remainder)
            yield remainder[:cut].strip()
            remainder = remainder[cut:].strip()
        if remainder:
            yield remainder


def _cut_position(text: str) -> int:
    """Where to cut an overlong paragraph: after a sentence, else between words, else anywhere."""
    for mark in (". ", "\n", " "):
        position = text.rfind(mark, PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
        if position > 0:
            return position + 1
    return PASSAGE_CHARACTERS
