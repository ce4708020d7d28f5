"""From what the user names to the reader that fits."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vecsec_cli.importing.byte_lines import STANDARD_INPUT
from vecsec_cli.importing.chroma_collection import ChromaAddress, ChromaSource
from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import Source, SourceError
from vecsec_cli.importing.text_folder import TextFolderSource


class SourceFormat(StrEnum):
    """What a source can be."""

    JSONL = "jsonl"
    CSV = "csv"
    TEXT = "text"
    CHROMA = "chroma"


_BY_SUFFIX = {".jsonl": SourceFormat.JSONL, ".ndjson": SourceFormat.JSONL, ".csv": SourceFormat.CSV}


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read a source."""

    columns: Columns
    defaults: Defaults
    keep_embeddings: bool = False


def open_source(source: str, source_format: SourceFormat | None, options: ReadingOptions) -> Source:
    """The reader for a source.

    Raises:
        SourceError: if there is none for it.
    """
    match source_format or _recognized(source):
        case SourceFormat.JSONL:
            return JsonLinesSource(Path(source), options.defaults)
        case SourceFormat.CSV:
            return CsvSource(Path(source), options.columns, options.defaults)
        case SourceFormat.TEXT:
            return TextFolderSource(Path(source), options.defaults)
        case SourceFormat.CHROMA:
            return ChromaSource(ChromaAddress.parse(source), options.columns, options.defaults, options.keep_embeddings)


def _recognized(source: str) -> SourceFormat:
    if source.startswith(("chroma:", "chroma+http:", "chroma+https:")):
        return SourceFormat.CHROMA
    path = Path(source)
    if path == STANDARD_INPUT:
        return SourceFormat.JSONL
    if path.is_dir():
        return SourceFormat.TEXT
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    if not path.exists():
        raise SourceError(f"no such file or folder: {source}")
    known = ", ".join(SourceFormat)
    raise SourceError(f"cannot tell the format of {source} by its name; --format says it ({known})")
