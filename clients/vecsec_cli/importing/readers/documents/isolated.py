"""Reads documents in a process of its own. A file may bring it down: that one is named, the next has a new process."""

import importlib.util
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.readers.documents.limits import MAX_SECONDS, MAX_WAIT_SECONDS
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting.blocks import Block, Kind

_WORKER = "vecsec_cli.importing.readers.documents.worker"
_LIBRARIES = {
    SourceFormat.PDF: "pypdf",
    SourceFormat.DOCX: "docx",
    SourceFormat.PPTX: "pptx",
    SourceFormat.XLSX: "python_calamine",
    SourceFormat.EPUB: "lxml",
}
_LEAVING_SECONDS = 2.0
MISSING = "needs vecsec[documents], which is not installed"
INSTALL_DOCUMENTS = "pip install ./clients/vecsec-client '.[documents]' in a checkout"


class DocumentReader:
    """Reads documents, one after another; a context manager."""

    def __init__(self, seconds: float = MAX_WAIT_SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._ran_out = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def read(self, path: Path, file_format: SourceFormat) -> Reading:
        """Read a file.

        Raises:
            NotRead: if its reader is not installed, or cannot read it.
        """
        if importlib.util.find_spec(_LIBRARIES[file_format]) is None:
            raise NotRead(MISSING)
        self._ran_out = False
        self._running()
        timer = threading.Timer(self._seconds, self._run_out)
        timer.start()
        try:
            answers = list(self._answers(path, file_format))
        finally:
            timer.cancel()
        title = next((each["title"] for each in answers if "title" in each), "")
        return Reading([_block(each["block"]) for each in answers if "block" in each], title=" ".join(title.split()))

    def _answers(self, path: Path, file_format: SourceFormat) -> Iterator[dict[str, Any]]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"path": str(path.absolute()), "format": file_format}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        for line in process.stdout:
            answer = json.loads(line)
            if "is_whole" in answer:
                return
            if "reason" in answer:
                raise NotRead(answer["reason"], answer.get("detail", ""))
            yield answer
        raise self._died()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="ascii",
            )
        return self._process

    def _died(self) -> NotRead:
        status = self._end()
        if self._ran_out:
            return NotRead(f"took longer than {self._seconds:.0f} s")
        if status == -signal.SIGXCPU:
            return NotRead(f"took more than {MAX_SECONDS} s of a processor")
        return NotRead("its reader failed: it is damaged, or needs too much memory")

    def _run_out(self) -> None:
        self._ran_out = True
        process = self._process
        if process is not None:
            process.kill()

    def _end(self) -> int:
        """End the process; how it ended, or had ended before."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for stream in (process.stdout, process.stdin):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            return process.wait(_LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _block(values: dict[str, Any]) -> Block:
    parts = tuple(_block(part) for part in values.pop("parts"))
    return Block(Kind[values.pop("kind")], parts=parts, **values)
