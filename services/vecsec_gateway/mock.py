"""Made-up rows for when real retrieval is off or out of reach: labelled, and holding nothing of any store.

Pure: the same tenant, collection, query and topics give the same rows, and nothing else goes into them.
"""

import hashlib
from collections.abc import Sequence
from enum import Enum

from vecsec_chassis.identifiers import MOCK_ID_PREFIX
from vecsec_chassis.labels import Label, Sensitivity
from vecsec_gateway.peers import Provenance, Row, Search

MAXIMUM_MOCK_ROWS = 5
"""Enough to exercise a caller's code path; nobody takes five rows that say they are made up for a full answer."""


class MockReason(Enum):
    """Why an answer is made up; the values are metric labels."""

    FLAG_OFF = "flag_off"
    RETRIEVAL_FAILED = "retrieval_failed"
    CIRCUIT_OPEN = "circuit_open"


def mock_rows(search: Search, topics: Sequence[str]) -> list[Row]:
    """Up to `MAXIMUM_MOCK_ROWS` rows of the searched tenant, PUBLIC, each about one of its topics, best score first.

    A tenant without topics gets rows without one, which the policy withholds like any half-tagged row.
    """
    rows = [_row(search, sorted(topics), index) for index in range(min(search.k, MAXIMUM_MOCK_ROWS))]
    return sorted(rows, key=lambda row: (-row.score, row.document_id))


def _row(search: Search, topics: Sequence[str], index: int) -> Row:
    digest = _digest(search, index)
    topic = topics[int.from_bytes(digest[16:24], "big") % len(topics)] if topics else None
    return Row(
        document_id=MOCK_ID_PREFIX + digest[:8].hex(),
        label=Label(
            tenant_id=search.tenant_id,
            sensitivity=Sensitivity.PUBLIC,
            topics=frozenset() if topic is None else frozenset({topic}),
        ),
        score=int.from_bytes(digest[24:28], "big") / 2**32,
        provenance=Provenance.MOCK,
        content=f"Synthetic passage {index + 1} about {topic or 'nothing'}: made up by VecSec because real retrieval "
        "did not answer. It holds nothing of any document.",
    )


def _digest(search: Search, index: int) -> bytes:
    digest = hashlib.blake2b(digest_size=32, person=b"vecsec-mock")
    parts = (
        search.tenant_id.encode(),
        search.collection_id.encode(),
        search.criteria.fingerprint(),
        str(index).encode(),
    )
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts run together alike
        digest.update(part)
    return digest.digest()
