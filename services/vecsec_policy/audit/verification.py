"""Verifies an audit log with all its files."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vecsec_policy.audit.chain import Head
from vecsec_policy.audit.chain_verification import ChainVerification
from vecsec_policy.audit.findings import AuditFinding, AuditNote, LogPosition, Tampering, head_missing
from vecsec_policy.audit.log_files import opened_files, unchained_file

_BLOCK_BYTES = 1024 * 1024

Progress = Callable[[int], None]
"""Told how many bytes were read since it was told last."""


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """What verification says of a log."""

    replica_id: str
    files: Sequence[Path]
    record_count: int
    """Of records that are in their place."""
    head: Head
    findings: Sequence[AuditFinding]
    """Nothing here: no record was altered, removed, moved or put in before the head."""
    notes: Sequence[AuditNote]


def verify_log(
    path: Path,
    *,
    anchor: str | None = None,
    expected_heads: Sequence[str] = (),
    on_progress: Progress = lambda _bytes: None,
) -> VerifiedLog:
    """Verify the log whose newest file is `path`.

    Args:
        path: the newest file.
        anchor: the hash of the record before the first, for a log whose beginning was taken away.
        expected_heads: hashes of heads that were noted elsewhere, which the log must have.
        on_progress: told about progress, in bytes.

    Raises:
        OSError: if a file cannot be read.
    """
    files = []
    chain = ChainVerification(expected_heads)
    earlier = unchained_file(path)
    digest: str | None = None
    for file, content in opened_files(path):
        files.append(file)
        if file == earlier:
            digest = _digest(content, on_progress)
        else:
            _follow(chain, file, content, on_progress)
    chain.finish(anchor)
    findings = [*chain.findings, *_sealed_file_findings(chain, earlier, digest)]
    findings += [head_missing(head) for head in expected_heads if head not in chain.hashes_seen]
    return VerifiedLog(chain.replica_id, files, chain.record_count, chain.head, findings, chain.notes)


def _follow(chain: ChainVerification, file: Path, lines: BinaryIO, on_progress: Progress) -> None:
    read_bytes = 0
    for number, line in enumerate(lines, start=1):
        chain.take(LogPosition(file, number), line)
        read_bytes += len(line)
        if read_bytes >= _BLOCK_BYTES:
            on_progress(read_bytes)
            read_bytes = 0
    on_progress(read_bytes)


def _digest(content: BinaryIO, on_progress: Progress) -> str:
    digest = hashlib.sha256()
    while block := content.read(_BLOCK_BYTES):
        digest.update(block)
        on_progress(len(block))
    return digest.hexdigest()


def _sealed_file_findings(chain: ChainVerification, earlier: Path, digest: str | None) -> list[AuditFinding]:
    """Whether the file from before records were chained is what the log's first record says."""
    place = LogPosition(earlier, 1)
    if chain.sealed_file is None:
        if digest is None:
            return []
        return [AuditFinding(Tampering.INSERTED, place, None, "no record of the log speaks of this file")]
    name, sealed = chain.sealed_file
    if digest is None:
        if name in chain.removed_files:
            return []
        return [AuditFinding(Tampering.REMOVED, place, None, "the file from before records were chained is missing")]
    if digest != sealed:
        return [AuditFinding(Tampering.ALTERED, place, None, "the file is not what it was when the chain began")]
    return []
