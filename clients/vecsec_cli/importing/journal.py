"""The journal of an import: what the services have acknowledged, so that a cut-off import goes on where it stopped.

A journal is a file of JSON lines that is only ever appended to, so that a crash at any moment leaves at worst half a
last line, which is ignored. It may lag behind what is stored, never run ahead of it: documents that are sent twice are
replaced by themselves.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from vecsec_cli.importing.records import BadRecord, SourceError

MAX_REPORTED = 1000
"""How many bad records are kept; the others are counted."""


@dataclass(slots=True)
class Rejections:
    """Bad records: the first of them, and how many."""

    reported: list[BadRecord] = field(default_factory=list)
    count: int = 0

    def add(self, record: BadRecord) -> None:
        """Count one more."""
        self.count += 1
        if len(self.reported) < MAX_REPORTED:
            self.reported.append(record)

    def plus(self, other: "Rejections") -> "Rejections":
        """Both together, in the order of their lines."""
        reported = sorted([*self.reported, *other.reported], key=lambda record: record.line)
        return Rejections(reported[:MAX_REPORTED], self.count + other.count)


class Journal:
    """What is settled of one import, in the order in which the source yields passages."""

    def __init__(self, stream: BinaryIO | None, content: str = "") -> None:
        """Take an open file to append to, and a name of what is imported; without a file, nothing is remembered."""
        self._stream = stream
        self._content = content
        self._is_of_content = False
        self.settled = 0
        """How many passages from the start of the source are stored or refused for good."""
        self.refused = Rejections()
        """Those among them that the services refused."""
        self.bad = Rejections()
        """Places of the source that were no documents; known once the import is finished."""
        self.is_finished = False

    def settle(self, count: int, refused: Sequence[BadRecord] = ()) -> None:
        """Record that `count` further passages are settled, and which of them were refused."""
        self.settled += count
        for record in refused:
            self.refused.add(record)
        self._append({"settled": self.settled, "refused": [asdict(record) for record in refused]})

    def finish(self, bad: Rejections) -> None:
        """Record that the source was read to its end, and what was bad in it."""
        self.bad = bad
        self.is_finished = True
        self._append({"finished": True, "bad": asdict(bad)})

    def start_over(self) -> None:
        """Forget everything."""
        self.settled = 0
        self.refused = Rejections()
        self.bad = Rejections()
        self.is_finished = False
        if self._stream:
            self._stream.truncate(0)
            self._append({"content": self._content})

    def forget(self) -> None:
        """Remember nothing of this import, neither what was nor what comes: next time its passages may be others."""
        self.is_finished = False
        if self._stream:
            self._stream.truncate(0)
            self._stream = None

    def resume(self) -> None:
        """Take in what an earlier run recorded, unless that was of another content.

        Raises:
            ValueError, TypeError, AttributeError, KeyError: if it is damaged.
        """
        assert self._stream is not None
        self._stream.seek(0)
        self._stream.truncate(self._replay(self._stream.readlines()))
        if not self._is_of_content:
            self.start_over()

    def _replay(self, lines: Sequence[bytes]) -> int:
        """How many bytes are whole lines."""
        whole = 0
        for line in lines:
            if not line.endswith(b"\n"):
                break  # cut off while it was written
            entry = json.loads(line)
            if "content" in entry:
                self._is_of_content = entry["content"] == self._content
            self.settled = entry.get("settled", self.settled)
            self.is_finished = entry.get("finished", False)
            for values in entry.get("refused", ()):
                self.refused.add(BadRecord(**values))
            if "bad" in entry:
                reported = [BadRecord(**values) for values in entry["bad"]["reported"]]
                self.bad = Rejections(reported, entry["bad"]["count"])
            whole += len(line)
        return whole

    def _append(self, entry: dict[str, object]) -> None:
        if self._stream:
            self._stream.write(json.dumps(entry).encode() + b"\n")
            self._stream.flush()


@contextmanager
def open_journal(folder: Path, fingerprint: str | None, *scope: str, start_over: bool = False) -> Iterator[Journal]:
    """The journal of a source in this scope (gateway, tenant, collection, the source's name).

    There is one, of the latest import: what an import of another content has stored over is not taken for there.

    Args:
        folder: where journals lie; made if need be.
        fingerprint: of the source's content and the way of reading it; None gives a journal that remembers nothing.
        scope: what is imported and where to.
        start_over: whether to forget what earlier runs did.

    Raises:
        SourceError: if another process is importing the same thing just now, or the journal is damaged.
    """
    if fingerprint is None:
        yield Journal(None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.blake2b(json.dumps(scope).encode(), digest_size=16).hexdigest()
    path = folder / f"{name}.jsonl"
    with path.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError("another process is importing the same source just now") from error
        journal = Journal(stream, fingerprint)
        if start_over:
            stream.truncate(0)
        try:
            journal.resume()
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SourceError(f"the journal {path} is damaged; --restart imports from the start") from error
        yield journal
