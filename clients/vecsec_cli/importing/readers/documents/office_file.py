"""What Word, PowerPoint, Excel and EPUB files have in common: they are zip files, which may unpack to anything."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from vecsec_cli.importing.readers.reading import NotRead

_MAX_UNPACKED = 200 << 20
_MAX_PARTS = 10_000
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"


def checked_zip(path: Path) -> None:
    """See that a file is a zip file which unpacks to a bounded size; what it says of its parts, `zipfile` enforces.

    Raises:
        NotRead: if it is not.
    """
    with path.open("rb") as stream:
        if stream.read(4) == _OLD_OFFICE:
            raise NotRead("is encrypted, or older than its name says")
    try:
        with ZipFile(path) as archive:
            parts = archive.infolist()
    except BadZipFile as error:
        raise NotRead("is damaged") from error
    if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
        raise NotRead(f"unpacks to more than {_MAX_UNPACKED >> 20} MiB")
