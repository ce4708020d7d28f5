"""Writes files of the state directory so that nobody, not even another process, ever sees half of one."""

import json
import os
import shutil
import tempfile
from pathlib import Path


def as_json(document: object) -> bytes:
    """A document as a file holds it that people read, too."""
    return (json.dumps(document, indent=2) + "\n").encode()


def create(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Create a file with this content, if there is none; of several processes exactly one succeeds.

    Returns:
        Whether this call created it.
    """
    temporary = _write_beside(path, content, mode)
    try:
        os.link(temporary, path)  # unlike a rename, this never replaces
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put this content in the place of the file's, at once."""
    temporary = _write_beside(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder to a new place, so that it is there as a whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("__pycache__"))
    partial.rename(target)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner only
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return Path(name)
