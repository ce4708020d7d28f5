"""The decisions of an audit log, for tests to look at."""

from collections.abc import Iterator
from pathlib import Path

from vecsec_policy.audit.log_files import lines_of
from vecsec_policy.audit.reading import RecordedDecision, decision_from_line


def read_decisions(path: Path) -> Iterator[RecordedDecision]:
    """The decisions of the log whose newest file is `path`, the oldest first; other records and lines that are none,
    such as one that is still being written, are left out.

    Raises:
        ValueError: if a record cannot have been written by this version of VecSec; names file and line.
    """
    for file, number, line in lines_of(path):
        if not line.endswith(b"\n"):
            continue
        try:
            decision = decision_from_line(line)
        except ValueError as error:
            raise ValueError(f"{file}:{number}: not a record of a decision: {error}") from error
        if decision is not None:
            yield decision
