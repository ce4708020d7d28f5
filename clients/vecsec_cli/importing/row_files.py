"""Files of which each holds many documents, a row or an entry each."""

from pathlib import Path

from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.json_array import JsonArraySource
from vecsec_cli.importing.json_lines import JsonLinesSource

RowSource = CsvSource | JsonArraySource | JsonLinesSource


def row_source(
    path: Path, file_format: SourceFormat, columns: Columns, defaults: Defaults, encoding: str | None = None
) -> RowSource:
    """The reader of a file of one of the formats `OF_ROWS`."""
    if file_format is SourceFormat.JSONL:
        return JsonLinesSource(path, defaults)
    if file_format is SourceFormat.JSON:
        return JsonArraySource(path, defaults)
    delimiter = "\t" if file_format is SourceFormat.TSV else None
    return CsvSource(path, columns, defaults, delimiter=delimiter, encoding=encoding)
