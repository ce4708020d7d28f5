"""Excel (`.xlsx`): a table a sheet, below the sheet's name."""

from collections.abc import Iterator
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from vecsec_cli.importing.readers.documents.office_file import checked_zip
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting.blocks import Block, heading, table


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        NotRead: if it is encrypted or damaged; also while its blocks are read.
    """
    checked_zip(path)
    try:
        workbook = CalamineWorkbook.from_path(path)
    except PasswordError as error:
        raise NotRead("is encrypted") from error
    except CalamineError as error:
        raise NotRead("is damaged") from error
    return Reading(_blocks(workbook))


def _blocks(workbook: CalamineWorkbook) -> Iterator[Block]:
    for number, name in enumerate(workbook.sheet_names, start=1):
        try:
            rows = workbook.get_sheet_by_name(name).iter_rows()
            made = table([[_shown(cell) for cell in row] for row in rows], page=number)
        except CalamineError as error:
            raise NotRead("is damaged") from error
        if made is not None:
            yield heading(name, 1, page=number)
            yield made


def _shown(cell: object) -> str:
    """A cell as people read it: a whole number has no decimals."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
