"""Calls as a type checker sees them; `test_lists_of_texts.py` has mypy check this file. It is never run.

Every `type: ignore` is needed, or mypy complains of it: a bare text is an error exactly there.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from vecsec_client import AsyncVecSecClient, DocumentInput, Sensitivity, VecSecClient, ViolationType, in_


def lists_are_taken(client: VecSecClient, some: Sequence[str], unordered: AbstractSet[str]) -> None:
    for topics in (["rag"], ("rag", "retrieval"), {"rag"}, frozenset({"rag"}), {"rag": 1}.keys(), some, unordered):
        DocumentInput(document_id="d", text="t", topics=topics, attributes={"owner": "alice", "regions": ["eu"]})
        client.explain_access(sensitivity=Sensitivity.PUBLIC, topics=topics)
        client.get_documents(topics)
        client.delete_documents(topics)
    client.count_violations(types=[ViolationType.TOPIC, "clearance_violation"])
    in_("year", range(2001, 2005))
    in_("kind", (kind for kind in some))


async def a_bare_text_is_not(client: VecSecClient, asyncio_client: AsyncVecSecClient) -> None:
    DocumentInput(document_id="d", text="t", topics="rag")  # type: ignore[arg-type]
    in_("kind", "memo")  # type: ignore[arg-type]
    client.get_documents("d1")  # type: ignore[arg-type]
    client.delete_documents("d1")  # type: ignore[arg-type]
    client.explain_access(sensitivity="PUBLIC", topics="rag")  # type: ignore[arg-type]
    client.count_violations(types="topic_violation")  # type: ignore[arg-type]
    client.list_violations(types=ViolationType.TOPIC)  # type: ignore[arg-type]
    await asyncio_client.get_documents("d1")  # type: ignore[arg-type]
    await asyncio_client.delete_documents("d1")  # type: ignore[arg-type]
    await asyncio_client.explain_access(sensitivity="PUBLIC", topics="rag")  # type: ignore[arg-type]
    await asyncio_client.count_violations(types="topic_violation")  # type: ignore[arg-type]
    await asyncio_client.list_violations(types=ViolationType.TOPIC)  # type: ignore[arg-type]


def misspelt_words_are_not(client: VecSecClient) -> None:
    DocumentInput(document_id="d", text="t", sensitivity="publik")  # type: ignore[arg-type]
    client.explain_access(sensitivity="SECRET", topics=["rag"], action="reed")  # type: ignore[arg-type]
    client.count_violations(types=["topic"])  # type: ignore[list-item]
