"""Processes that the tests end, or that may end by themselves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from support.waiting import PATIENCE_SECONDS, wait_until


class Child:
    """A module of Python's that runs; its lines go to a file, and so outlive it."""

    def __init__(
        self, module: str, *arguments: object, folder: Path, stdin: int | IO[bytes] = subprocess.DEVNULL
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said, self._complained = folder / "said", folder / "complained"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
        with self._said.open("wb") as said, self._complained.open("wb") as complained:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                stdin=stdin,
                stdout=said,
                stderr=complained,
                env=environment,
            )

    def lines(self, first: str) -> list[list[str]]:
        """The words of its lines that begin with this one."""
        whole = self._said.read_text().rpartition("\n")[0]
        return [words for line in whole.splitlines() if (words := line.split(" ")) and words[0] == first]

    def wait_for(self, first: str, count: int = 1) -> list[str]:
        """The last of so many lines that begin with this word."""
        wait_until(lambda: len(self.lines(first)) >= count or self.process.poll() is not None, self.told)
        assert len(self.lines(first)) >= count, self.told()
        return self.lines(first)[count - 1]

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def told(self) -> str:
        """All that is known of it, for people."""
        complaint = self._complained.read_text(errors="replace")[-4_000:]
        return f"ended with {self.process.poll()}: {self._said.read_text()[-4_000:]}\n{complaint}"


@contextmanager
def child(
    module: str, *arguments: object, folder: Path, stdin: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[Child]:
    """A process that does not outlive the test."""
    started = Child(module, *arguments, folder=folder, stdin=stdin)
    try:
        yield started
    finally:
        started.kill()
        if started.process.stdin is not None:
            started.process.stdin.close()
