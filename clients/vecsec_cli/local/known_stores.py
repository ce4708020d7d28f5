"""Which embedded stores `vecsec up` has started with, so that one that is not there any more is missed.

An empty folder may be a first start, or a disk that is not mounted. The store itself cannot tell; the state directory,
which may lie on another disk, can.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vecsec_cli.local import state_files
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

IDENTITY_FILE = ".vecsec-store.json"
"""At the root of each store; written by the retrieval service."""
NEW_STORE_UNTIL = "VECSEC_NEW_STORE_UNTIL"
_TIME_TO_BEGIN = timedelta(minutes=10)


def leave_to_begin(state: StateDirectory, path: Path) -> dict[str, str]:
    """The setting by which a store may begin at a path where none was known; nothing where one was.

    Raises:
        CommandFailure: if what is known cannot be read.
    """
    if str(path.absolute()) in _known(state):
        return {}
    return {NEW_STORE_UNTIL: (datetime.now(UTC) + _TIME_TO_BEGIN).isoformat(timespec="seconds")}


def demand_known(state: StateDirectory, settings: Mapping[str, str], path: Path) -> None:
    """Refuse another store than the one that was at this path. Of one that is missing the service itself tells.

    Raises:
        CommandFailure: naming both, unless a new store may begin.
    """
    known, found = _known(state).get(str(path.absolute())), store_id_at(path)
    if known is not None and found is not None and found != known and not settings.get(NEW_STORE_UNTIL):
        raise CommandFailure(
            f"CHROMA_PATH: {path} holds another store ({found}) than it did ({known})",
            hint=f"mount the right one; if you want this one, start once with {NEW_STORE_UNTIL} set to a time soon",
        )


def remember(state: StateDirectory, path: Path) -> None:
    """Know the store that is at this path now.

    Raises:
        OSError: if that cannot be written.
    """
    known, found = _known(state), store_id_at(path)
    if found is not None and known.get(str(path.absolute())) != found:
        state_files.replace(state.stores_file, state_files.as_json(known | {str(path.absolute()): found}))


def store_id_at(path: Path) -> str | None:
    """The id of the store at this path; None if there is none, or it cannot be read."""
    try:
        return str(json.loads((path / IDENTITY_FILE).read_bytes())["store_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _known(state: StateDirectory) -> dict[str, str]:
    try:
        known = json.loads(state.stores_file.read_bytes())
        return {str(path): str(store_id) for path, store_id in known.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise CommandFailure(
            f"{state.stores_file}, which says which stores there are, cannot be read",
            hint="remove it, if the store at CHROMA_PATH is there",
        ) from error
