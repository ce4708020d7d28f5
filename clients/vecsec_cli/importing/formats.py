"""Which format a source has, by its name."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath


class SourceFormat(StrEnum):
    """What a source can be."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    RST = "rst"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PDF = "pdf"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"
    EPUB = "epub"
    CHROMA = "chroma"


OF_ROWS = frozenset({SourceFormat.JSONL, SourceFormat.JSON, SourceFormat.CSV, SourceFormat.TSV})
"""Formats of which one file holds many documents."""
OF_PARTS = frozenset({SourceFormat.PDF, SourceFormat.DOCX, SourceFormat.PPTX, SourceFormat.XLSX, SourceFormat.EPUB})
"""Formats that `vecsec[documents]` reads."""

_BY_SUFFIX = {
    ".txt": SourceFormat.TEXT,
    ".text": SourceFormat.TEXT,
    ".log": SourceFormat.TEXT,
    ".md": SourceFormat.MARKDOWN,
    ".markdown": SourceFormat.MARKDOWN,
    ".html": SourceFormat.HTML,
    ".htm": SourceFormat.HTML,
    ".xhtml": SourceFormat.HTML,
    ".rst": SourceFormat.RST,
    ".rest": SourceFormat.RST,
    ".jsonl": SourceFormat.JSONL,
    ".ndjson": SourceFormat.JSONL,
    ".json": SourceFormat.JSON,
    ".csv": SourceFormat.CSV,
    ".tsv": SourceFormat.TSV,
    ".tab": SourceFormat.TSV,
    ".pdf": SourceFormat.PDF,
    ".docx": SourceFormat.DOCX,
    ".pptx": SourceFormat.PPTX,
    ".xlsx": SourceFormat.XLSX,
    ".epub": SourceFormat.EPUB,
}
_GZIP = ".gz"
_TEXTS = frozenset(
    {
        *(
            "announce",
            "authors",
            "bugs",
            "changelog",
            "changes",
            "contributing",
            "contributors",
            "copying",
            "copyright",
        ),
        *("credits", "faq", "hacking", "history", "install", "licence", "license", "maintainers", "news", "notice"),
        *("readme", "release_notes", "releasenotes", "thanks", "todo", "upgrading"),
    }
)
"""Names of files that are texts without a suffix, or with one of their own, such as README.Debian."""


def is_packed(name: str) -> bool:
    """Whether a file is compressed by gzip, by its name."""
    return name.lower().endswith(_GZIP)


def kind_of(name: str) -> str:
    """What to call a file's kind: its suffix, without that of gzip."""
    return suffix_of(name) or "(no suffix)"


def suffix_of(name: str) -> str:
    """A file's suffix in lower case, without that of gzip; empty if it has none."""
    return PurePath(name[: -len(_GZIP)] if is_packed(name) else name).suffix.lower()


def format_of(name: str, read_as: Mapping[str, SourceFormat]) -> SourceFormat | None:
    """The format of a file of this name; None if it has none that is read. `read_as` says more, by suffix."""
    suffix = suffix_of(name)
    if suffix in read_as:
        return read_as[suffix]
    stem = PurePath(name).name.lower().partition(".")[0]
    return _BY_SUFFIX.get(suffix) or (SourceFormat.TEXT if stem in _TEXTS else None)
