"""Where the index of violations lies: on a disk of this machine, for SQLite's write-ahead log needs shared memory.

The audit log may be on a volume that machines share; each replica appends to a file of its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.process.file_systems import network_file_system
from vecsec_chassis.process.writable_folders import demand_writable

log = structlog.get_logger()

_SETTING = "VECSEC_VIOLATION_INDEX_DIR"


@contextmanager
def index_folder(audit_file: Path, chosen: Path | None) -> Iterator[Path]:
    """The folder for the index of this log: the chosen one, or that of the log. Where none was chosen and the log is on
    a network file system, it is one of this process's own, and the index is made anew at each start.

    Raises:
        ConfigurationError: if the chosen one is on a network file system, or cannot be written to.
    """
    demand_local_index(chosen)
    if chosen is not None:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield chosen
        return
    beside = audit_file.parent
    kind = network_file_system(beside)
    if kind is None:
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix="vecsec-violations-") as name:
        log.warning(
            "violation index is kept for this run alone: the audit log is on a network file system",
            file_system=kind,
            path=name,
            remedy=f"name a folder on a disk of this machine: {_SETTING}",
        )
        yield Path(name)


def demand_local_index(chosen: Path | None) -> None:
    """Refuse a folder in which no index can be kept; raises as `index_folder`."""
    if chosen is None:
        return
    kind = network_file_system(chosen)
    if kind is not None:
        raise ConfigurationError(
            f"{_SETTING}={chosen}: is on a network file system ({kind}), where SQLite cannot keep an index; "
            "name a folder on a disk of this machine"
        )
    demand_writable(chosen, _SETTING)
