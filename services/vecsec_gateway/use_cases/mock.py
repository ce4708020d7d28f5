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
    LabelMessage,
    MockReason,
    Plan,
    Provenance,
    QueryOutcome,
    Row,
    Search,
    SearchBatch,
)

MAXIMUM_MOCK_ROWS = 5
"""Enough to exercise a caller's code path; nobody takes five rows that say they are made up for a full answer."""


def mock_batch(plan: Plan, batch: SearchBatch, reason: MockReason) -> Answer:
    """What `mock_answer` makes up for each query of a batch."""
    rows: list[Row] = []
    labels: list[LabelMessage] = []
    for number, query in enumerate(batch.queries):
        made_up = mock_answer(plan, query, reason)
        rows += [replace(row, label=row.label + len(labels), query=number) for row in made_up.rows]
        labels += made_up.labels
    return Answer(rows, labels, mock_reason=reason, queries=[QueryOutcome()] * len(batch.queries))


def mock_answer(plan: Plan, search: Search | BatchQuery, reason: MockReason) -> Answer:
    """Up to `MAXIMUM_MOCK_ROWS` rows of the searched tenant, PUBLIC, each about one of its topics, best score first.

    A tenant without topics gets rows without one, which the policy withholds like any half-tagged row.
    """
    topics = sorted(plan.topics) or [""]
    count = min(search.offset + search.k, MAXIMUM_MOCK_ROWS)
    digests = [_digest(plan.tenant_id, search, index) for index in range(count)]
    topic_of = [topics[int.from_bytes(digest[16:24], "big") % len(topics)] for digest in digests]
    labels = {topic: _label(plan.tenant_id, topic) for topic in topic_of}
    places = {topic: place for place, topic in enumerate(labels)}
    rows = [
        _row(number, digest, topic, places[topic], labels[topic])
        for number, (digest, topic) in enumerate(zip(digests, topic_of, strict=True), 1)
    ]
    rows.sort(key=lambda row: (-row.score, row.document_id))
    if search.HasField("min_score"):
        rows = [row for row in rows if row.score >= search.min_score]
    return Answer(rows[search.offset :], list(labels.values()), mock_reason=reason)


def _label(tenant_id: str, topic: str) -> LabelMessage:
    return label_to_proto(Label(tenant_id, Sensitivity.PUBLIC, frozenset({topic} if topic else ())))


def _row(number: int, digest: bytes, topic: str, place: int, label: LabelMessage) -> Row:
    document_id = MOCK_ID_PREFIX + digest[:8].hex()
    text = (
        f"Synthetic passage {number} about {topic or 'nothing'}: made up by VecSec because real retrieval "
        "did not answer. It holds nothing of any document."
    )
    return Row(
        document_id=document_id,
        label=place,
        score=int.from_bytes(digest[24:28], "big") / 2**32,
        provenance=Provenance.MOCK,
        document=Document(document_id=document_id, text=text, label=label),
    )


def _digest(tenant_id: str, search: Search | BatchQuery, index: int) -> bytes:
    digest = hashlib.blake2b(digest_size=32, person=b"vecsec-mock")
    query = search.query.SerializeToString(deterministic=True)
    for part in (tenant_id.encode(), search.collection_id.encode(), query, str(index).encode()):
        digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts run together alike
        digest.update(part)
    return digest.digest()
