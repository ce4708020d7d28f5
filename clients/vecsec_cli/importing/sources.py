"""From what the user names to the reader that fits."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from vecsec_cli.importing.byte_lines import STANDARD_INPUT
from vecsec_cli.importing.chroma_collection import ChromaAddress, ChromaSource
from vecsec_cli.importing.csv_table import Columns
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileOptions, FileTreeSource
from vecsec_cli.importing.formats import OF_ROWS, SourceFormat, format_of
from vecsec_cli.importing.records import Source, SourceError
from vecsec_cli.importing.row_files import row_source
from vecsec_cli.importing.row_splitting import SplitSource


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read a source."""

    columns: Columns
    defaults: Defaults
    keep_embeddings: bool = False
    files: FileOptions = field(default_factory=FileOptions)


def open_source(source: str, source_format: SourceFormat | None, options: ReadingOptions) -> Source:
    """The reader for a source.

    Raises:
        SourceError: if there is none for it.
    """
    path = Path(source)
    if source_format is None and path.is_dir():
        return FileTreeSource(path, options.defaults, options.files)
    file_format = source_format or _recognized(source, options)
    if file_format in OF_ROWS and not path.is_dir():
        return _split(row_source(path, file_format, options.columns, options.defaults, options.files.encoding), options)
    if file_format is SourceFormat.CHROMA:
        address = ChromaAddress.parse(source)
        return _split(ChromaSource(address, options.columns, options.defaults, options.keep_embeddings), options)
    return FileTreeSource(path, options.defaults, _of_one_file(path, file_format, options.files))


def _split(source: Source, options: ReadingOptions) -> Source:
    return source if options.files.lengths is None else SplitSource(source, options.files.lengths)


def _of_one_file(path: Path, file_format: SourceFormat, options: FileOptions) -> FileOptions:
    """`--format text` is also said of folders, as long as they held nothing else."""
    if not path.exists():
        raise SourceError(f"no such file or folder: {path}")
    if path.is_dir():
        if file_format is not SourceFormat.TEXT:
            raise SourceError(f"{path} is a folder; --read-as SUFFIX={file_format} says what its files are")
        return options
    return replace(options, file_format=file_format)


def _recognized(source: str, options: ReadingOptions) -> SourceFormat:
    if source.startswith(("chroma:", "chroma+http:", "chroma+https:")):
        return SourceFormat.CHROMA
    path = Path(source)
    if path == STANDARD_INPUT:
        return SourceFormat.JSONL
    found = format_of(path.name, options.files.read_as)
    if found is not None:
        return found
    if not path.exists():
        raise SourceError(f"no such file or folder: {source}")
    known = ", ".join(SourceFormat)
    raise SourceError(f"cannot tell the format of {source} by its name; --format says it ({known})")
