"""What the file of a snapshot consists of: a collection's rows as searches need them, derived from the log and never
changed.

The wide sections come first and grow while rows are added; the narrow ones follow, then a table that says of what the
rows are, where each section is, and its checksum; last, where that table is. A file is written aside, synced and
renamed, so that its name stands for a whole one. Whether it still fits is for the record to say, which names it with
the checksum of its table (see `vecsec_retrieval.model.store.ChangeLog`).
"""

import struct
from dataclasses import dataclass

FORMAT = 2
MAGIC = b"VecSecRw"
ENDING = struct.Struct("<8sqI")
"""Magic, length of the table, and its checksum."""


@dataclass(frozen=True, slots=True)
class SnapshotSource:
    """Of what a snapshot is."""

    tenant_id: str
    collection_key: str
    """The store's own name of the collection; no other ever has it."""
    dimensions: int
