"""What the file at the root of an embedded store says: its id, its format, and the cells that it should have."""

import json
from dataclasses import dataclass
from pathlib import Path

from vecsec_cli.local.known_stores import IDENTITY_FILE

DATABASE_FILE = "chroma.sqlite3"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What it says."""

    store_id: str
    format: int
    cells: tuple[str, ...]

    def __str__(self) -> str:
        return f"store {self.store_id}, format {self.format}"


class UnreadableIdentity(Exception):
    """The file is there and cannot be read; the message says why."""


def store_identity(folder: Path) -> StoreIdentity | None:
    """What is said of the store in the folder; None where nothing is, as before the retrieval service first had it.

    Raises:
        UnreadableIdentity: if what is said cannot be read.
    """
    file = folder / IDENTITY_FILE
    try:
        fields = json.loads(file.read_bytes())
        return StoreIdentity(str(fields["store_id"]), int(fields["format"]), tuple(map(str, fields["cells"])))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableIdentity(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableIdentity(f"{file} is damaged") from error


def missing_cells(folder: Path, identity: StoreIdentity | None) -> list[str]:
    """Tenants whose cell should be there and is not."""
    return (
        []
        if identity is None
        else sorted(name for name in identity.cells if not (folder / name / DATABASE_FILE).exists())
    )
