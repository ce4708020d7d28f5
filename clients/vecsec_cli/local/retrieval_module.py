"""What a module of the retrieval service prints, run in a process of its own: the command line knows no store."""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO


class ModuleFailed(Exception):
    """It ended with an error; the message is the last line of its complaints."""


@contextmanager
def output_of(module: str, *arguments: str) -> Generator[IO[bytes]]:
    """What the module prints, while it runs.

    Raises:
        ModuleFailed: at the end, if it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,  # noqa: S603 (our own module)
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
            status = process.wait()
        finally:
            process.kill()
        if status != 0:
            complaints.seek(0)
            lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
            raise ModuleFailed(lines[-1] if lines else f"the reader ended with status {status}")
