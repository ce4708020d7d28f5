"""THREATS 29: lexical statistics tell nothing of hidden rows. Two collections hold the same rows that a caller may
read, and different ones that it may not; whatever is asked, both answer alike."""

import random
from collections.abc import Sequence
from pathlib import Path

import grpc
from support.audit_log import read_decisions
from support.refusals import read_refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import document_pb2, query_pb2

MODES = query_pb2.SearchMode.values()
WORDS = (
    *("quarterly", "revenue", "forecast", "garden", "notes", "AB-1234/7", "E0382", "Türschloss", "running", "runs"),
    *("secret", "plan", "the", "of", "日本語"),
)
ODD_QUERIES = (
    "the of and",
    '"quarterly revenue',
    '"' * 500,
    "\u200b \u200d notes",
    "🦊🦊 garden",
    "x",
    "garden " * 2_000,
    "Ж日本語 mixed",
)


def some_rows(chance: random.Random, name: str, count: int, sensitivity: str) -> list[document_pb2.DocumentInput]:
    return [
        document(f"{name}-{number}", " ".join(chance.choices(WORDS, k=chance.randint(2, 30))), sensitivity)
        for number in range(count)
    ]


async def answers_of(stack: Stack, collection_id: str, queries: Sequence[str]) -> list[object]:
    """Everything that a caller gets but the request's own id: messages compare by every bit."""
    token = stack.issuer.token("tenant_a", "analyst", "INTERNAL")
    answers: list[object] = []
    for text in queries:
        for mode in MODES:
            for k in (1, 10):
                try:
                    answer = await stack.search(token, "tenant_a", text, k, mode=mode, collection_id=collection_id)
                except grpc.aio.AioRpcError as error:
                    answers.append(read_refusal(error))
                else:
                    answer.request_id = ""
                    answers.append(answer.SerializeToString(deterministic=True))
    return answers


async def test_threat_29_hidden_rows_change_no_bit_of_an_answer_in_any_mode(tmp_path: Path) -> None:
    chance = random.Random(29)
    visible = some_rows(chance, "seen", 25, "INTERNAL")
    queries = [" ".join(chance.choices(WORDS, k=3)) for _ in range(4)] + list(ODD_QUERIES)
    async with running_stack(tmp_path) as stack:
        for collection_id, hidden in (("few", 2), ("many", 90)):
            secret = some_rows(chance, "hidden", hidden, "SECRET")
            await stack.load("tenant_a", *secret[: hidden // 2], collection_id=collection_id)
            await stack.load("tenant_a", *visible, *secret[hidden // 2 :], collection_id=collection_id)
        before = await answers_of(stack, "few", queries)
        assert before == await answers_of(stack, "many", queries)
        assert any(isinstance(answer, bytes) and len(answer) > 500 for answer in before)
        # Hidden rows come, change and go.
        await stack.load("tenant_a", *some_rows(chance, "hidden", 40, "SECRET"), collection_id="few")
        request = gateway_service_pb2.DeleteDocumentsRequest(
            tenant_id="tenant_a", collection_id="many", document_ids=[f"hidden-{number}" for number in range(50)]
        )
        admin = stack.issuer.token("tenant_a", "admin", "SECRET")
        await stack.gateway.DeleteDocuments(request, metadata=bearer(admin), timeout=SEARCH_SECONDS)
        assert before == await answers_of(stack, "few", queries) == await answers_of(stack, "many", queries)
    async with running_stack(tmp_path) as stack:  # and nothing of it is lost, or comes, with a restart
        assert before == await answers_of(stack, "few", queries) == await answers_of(stack, "many", queries)


async def test_threat_29_the_audit_record_says_by_what_rows_were_found(stack: Stack) -> None:
    await stack.load("tenant_a", document("one", "quarterly revenue"))
    token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "reader")
    for mode in MODES:
        await stack.search(token, "tenant_a", "revenue", mode=mode)

    def modes() -> list[str]:
        decisions = read_decisions(stack.audit_file)
        return [each.search_mode for each in decisions if each.call == "check" and each.subject == "reader"]

    await until(lambda: len(modes()) == len(MODES))
    assert modes() == ["hybrid", "vector", "text", "hybrid"]
