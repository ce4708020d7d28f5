"""Made-up rows for when real retrieval is off or out of reach: labelled, and holding nothing of any store.

Pure: the same tenant, collection, query and topics give the same rows, and nothing else goes into them.
"""

import hashlib
from dataclasses import replace

from vecsec_chassis.domain.identifiers import MOCK_ID_PREFIX
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_chassis.rpc.wire import label_to_proto
from vecsec_gateway.peers.contract import (
    Answer,
    BatchQuery,
    Document,
    MockReason,
    Plan,
    Provenance,
    QueryOutcome,
    Search,
    SearchBatch,
)
from vecsec_gateway.peers.retrieval import FoundDocument, found_rows

MAXIMUM_MOCK_ROWS = 5
"""Enough to exercise a caller's code path; nobody takes five rows that say they are made up for a full answer."""


async def mock_answer(plan: Plan, search: Search, reason: MockReason) -> Answer:
    """Up to `MAXIMUM_MOCK_ROWS` rows of the searched tenant, PUBLIC, each about one of its topics, best score first.

    A tenant without topics gets rows without one, which the policy withholds like any half-tagged row.
    """
    made_up = (FoundDocument(document, score, Provenance.MOCK) for document, score in _made_up(plan, search))
    return replace(await found_rows(made_up), mock_reason=reason)


async def mock_batch(plan: Plan, batch: SearchBatch, reason: MockReason) -> Answer:
    """The same for each query of a batch."""
    made_up = await found_rows(
        FoundDocument(document, score, Provenance.MOCK, query=number)
        for number, query in enumerate(batch.queries)
        for document, score in _made_up(plan, query)
    )
    return replace(made_up, mock_reason=reason, queries=[QueryOutcome()] * len(batch.queries))


def _made_up(plan: Plan, search: Search | BatchQuery) -> list[tuple[Document, float]]:
    topics = sorted(plan.topics) or [""]
    count = min(search.offset + search.k, MAXIMUM_MOCK_ROWS)
    digests = [_digest(plan.tenant_id, search, index) for index in range(count)]
    topic_of = [topics[int.from_bytes(digest[16:24], "big") % len(topics)] for digest in digests]
    rows = [
        _scored(number, digest, plan.tenant_id, topic)
        for number, (digest, topic) in enumerate(zip(digests, topic_of, strict=True), 1)
    ]
    rows.sort(key=lambda row: (-row[1], row[0].document_id))
    if search.HasField("min_score"):
        rows = [row for row in rows if row[1] >= search.min_score]
    return rows[search.offset :]


def _scored(number: int, digest: bytes, tenant_id: str, topic: str) -> tuple[Document, float]:
    document_id = MOCK_ID_PREFIX + digest[:8].hex()
    text = (
        f"Synthetic passage {number} about {topic or 'nothing'}: made up by VecSec because real retrieval "
        "did not answer. It holds nothing of any document."
    )
    label = label_to_proto(Label(tenant_id, Sensitivity.PUBLIC, frozenset({topic} if topic else ())))
    return Document(document_id=document_id, text=text, label=label), int.from_bytes(digest[24:28], "big") / 2**32


def _digest(tenant_id: str, search: Search | BatchQuery, index: int) -> bytes:
    digest = hashlib.blake2b(digest_size=32, person=b"vecsec-mock")
    query = search.query.SerializeToString(deterministic=True)
    for part in (tenant_id.encode(), search.collection_id.encode(), query, str(index).encode()):
        digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts run together alike
        digest.update(part)
    return digest.digest()
