"""The hash chain of the audit log. Pure: lines and hashes, no files.

A line is `{"replica":…,"sequence":…,"previous":…,"kind":…,` the record's own fields `,"hash":…}`. `hash` is the SHA-256
of the line's bytes without the hash itself, `previous` is the hash of the record before. So a record cannot be altered,
removed, moved or put in without the chain showing it, but for the newest records, after which nothing follows. To be
sure of those too, and against somebody who writes the whole rest of a log anew, compare with a head that was noted
elsewhere.
"""

import hashlib
import re
from dataclasses import dataclass

NO_HASH = "0" * 64
"""What the first record of a log has for the hash of the one before."""
REPLICA_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")

_LINE = re.compile(
    rb'\{"replica":"([A-Za-z0-9._-]+)","sequence":([1-9][0-9]{0,18}),"previous":"([0-9a-f]{64})","kind":"([a-z_]+)"'
    rb'.*,"hash":"([0-9a-f]{64})"\}\n?'
)
_HASH_CHARACTERS = len(f',"hash":"{NO_HASH}"}}')


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a log."""

    sequence: int
    """Its number, from 1; 0 before the first."""
    hash: str


START = Head(0, NO_HASH)


@dataclass(frozen=True, slots=True)
class Link:
    """What a line says about its place in the chain."""

    replica: str
    sequence: int
    previous: str
    kind: str
    hash: str
    is_genuine: bool
    """Whether the hash is that of the line."""

    @property
    def head(self) -> Head:
        """The head of a log that ends with this line."""
        return Head(self.sequence, self.hash)


def chained(record: str, replica: str, head: Head) -> tuple[bytes, Head]:
    """Put a record, a JSON object that begins with its kind, after a head: the line with its end, and the new head."""
    sequence = head.sequence + 1
    line = f'{{"replica":"{replica}","sequence":{sequence},"previous":"{head.hash}",{record[1:]}'.encode()
    digest = hashlib.sha256(line).hexdigest()
    return b'%b,"hash":"%b"}\n' % (line[:-1], digest.encode()), Head(sequence, digest)


def link_of(line: bytes) -> Link | None:
    """What a line, with or without its end, says about its place; None if it is no line of a chain."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    replica, sequence, previous, kind, digest = match.groups()
    body = line.rstrip(b"\n")[:-_HASH_CHARACTERS] + b"}"
    return Link(
        replica=replica.decode(),
        sequence=int(sequence),
        previous=previous.decode(),
        kind=kind.decode(),
        hash=digest.decode(),
        is_genuine=hashlib.sha256(body).hexdigest().encode() == digest,
    )
