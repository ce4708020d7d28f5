"""The files of an audit log: their names, their order, and how the log ends."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vecsec_policy.audit.chain import START, Link, link_of

_SEQUENCE_DIGITS = 16
_FIRST_BLOCK_BYTES = 64 * 1024
_LARGEST_BLOCK_BYTES = 16 * 1024 * 1024
"""How far back the last record is looked for in a file. A record is far smaller than this, and only a crash puts
something else behind it."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How a log ends."""

    last: Link | None
    """Its last record; None if there is none."""
    torn_bytes: int
    """What is behind the last record: the rest of a line that a crash tore."""
    ends_in_line: bool
    """Whether the newest file lacks a line end at its end."""


def log_files(path: Path) -> list[Path]:
    """The files of a log in the order in which they were written: rotated ones, then `path` itself, if it is there.

    Rotated files are called after the number of their first record: `policy.0000000000000001.jsonl`; a log from before
    records were chained has the number 0.
    """
    rotated = re.compile(rf"{re.escape(path.stem)}\.\d{{{_SEQUENCE_DIGITS}}}{re.escape(path.suffix)}")
    found = sorted(each for each in path.parent.glob("*") if rotated.fullmatch(each.name))
    return [*found, *([path] if path.exists() else [])]


def rotated_file(path: Path, first_sequence: int) -> Path:
    """What a file of the log `path` is called once another one has taken its place."""
    return path.with_name(f"{path.stem}.{first_sequence:0{_SEQUENCE_DIGITS}}{path.suffix}")


def sequence_in_name(rotated: Path) -> int:
    """The number of the first record of a rotated file, as it is called."""
    return int(rotated.stem.rpartition(".")[2])


def unchained_file(path: Path) -> Path:
    """Where a log from before records were chained is kept."""
    return rotated_file(path, START.sequence)


def opened_files(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The files of a log, open for reading, in the order in which they were written; all that was in it at the start,
    also where the service rotates it meanwhile.

    Raises:
        OSError: if a file cannot be read.
    """
    with ExitStack() as opened:
        # The newest file is opened first: should it be rotated now, what is open still is the one after those listed.
        newest = opened.enter_context(path.open("rb")) if path.exists() else None
        for file in log_files(path):
            if file == path or (newest is not None and os.path.samestat(file.stat(), os.fstat(newest.fileno()))):
                continue
            with file.open("rb") as content:
                yield file, content
        if newest is not None:
            yield path, newest


def lines_of(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Each line of a log with its file and its number in it, from 1.

    Raises:
        OSError: if a file cannot be read.
    """
    for file, lines in opened_files(path):
        for number, line in enumerate(lines, start=1):
            yield file, number, line


def first_record(file: Path) -> Link | None:
    """The first record of a file: its first line, unless a crash tore that."""
    with file.open("rb") as lines:
        return next((link for link in map(link_of, lines) if link is not None), None)


def first_record_time(file: Path) -> str:
    """When the first record of a file was written, as it says; empty if there is none."""
    with file.open("rb") as lines:
        return next((json.loads(line)["time"] for line in lines if link_of(line) is not None), "")


def log_end(path: Path) -> LogEnd:
    """How the log ends whose newest file is `path`.

    Raises:
        OSError: if a file cannot be read.
    """
    torn_bytes = 0
    ends_in_line = False
    for file in reversed(log_files(path)):
        if file == unchained_file(path):
            break
        last, behind, unfinished = _file_end(file)
        ends_in_line = ends_in_line or (unfinished and file == path)
        torn_bytes += behind
        if last is not None:
            return LogEnd(last, torn_bytes, ends_in_line)
    return LogEnd(None, torn_bytes, ends_in_line)


def _file_end(file: Path) -> tuple[Link | None, int, bool]:
    """The last record, how many bytes are behind it, and whether the file ends within a line."""
    size = file.stat().st_size
    with file.open("rb") as content:
        block = _FIRST_BLOCK_BYTES
        while True:
            start = max(0, size - block)
            content.seek(start)
            data = content.read()
            unfinished = bool(data) and not data.endswith(b"\n")
            last, behind = _last_record(data)
            if last is not None:
                return last, behind, unfinished
            if start == 0 or block >= _LARGEST_BLOCK_BYTES:
                return None, size, unfinished
            block *= 4


def _last_record(data: bytes) -> tuple[Link | None, int]:
    behind = 0
    for line in reversed(data.splitlines(keepends=True)):
        link = link_of(line)
        if link is not None and link.is_genuine:
            return link, behind
        behind += len(line)
    return None, behind
