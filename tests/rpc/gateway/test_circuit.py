"""Who fails again and again is left alone for a while, and is found again."""

import asyncio
import re
from collections import Counter
from pathlib import Path

from support.gateway_calls import bearer, hang, ids, metrics, search, unavailable_times
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refusing
from support.refusals import refusal
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import AccessDenied

NONE = gateway_pb2.FALLBACK_NONE


async def test_an_open_circuit_answers_without_asking(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=60) as gateway:
        gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(10_000, None)
        for _ in range(2):
            await search(gateway)
        asked = gateway.retrieval.calls["SearchDocuments"]
        assert asked == 5  # the threshold
        answer = await search(gateway)
        assert answer.mock_reason == gateway_pb2.MOCK_REASON_CIRCUIT_OPEN
        refused = await refusal(search(gateway, fallback=NONE))
        assert (refused.reason, refused.metadata) == ("RETRIEVAL_UNAVAILABLE", {"circuit": "open"})
        assert refused.retry_seconds is not None
        assert 0 < refused.retry_seconds <= 60
        assert gateway.retrieval.calls["SearchDocuments"] == asked
        assert metrics(gateway)["vecsec_circuits_open"] == 1


async def test_every_call_that_retrieval_failed_is_counted_tried_or_not(tmp_path: Path) -> None:
    lookup = {"tenant_id": "tenant_a", "document_ids": ["first"]}
    in_tenant = {"tenant_id": "tenant_a"}
    async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600) as gateway:
        who = bearer(gateway)
        for _ in range(10):
            await search(gateway)
        await gateway.retrieval_server.stop(0)
        mocked = [(await search(gateway)).mock_reason for _ in range(20)]
        assert gateway_pb2.MOCK_REASON_UNSPECIFIED not in mocked
        assert mocked.count(gateway_pb2.MOCK_REASON_CIRCUIT_OPEN) >= 18
        stub = gateway.stub
        document = document_pb2.DocumentInput(
            document_id="a", text="a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"]
        )
        batches = iter([gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document])])

        async def store() -> None:
            async for _ in stub.ImportDocuments(batches, metadata=who):
                pass

        unanswered = {
            "search": [search(gateway, fallback=NONE)],
            "get": [stub.GetDocuments(gateway_pb2.GetDocumentsRequest(**lookup), metadata=who)],
            "delete": [stub.DeleteDocuments(gateway_pb2.DeleteDocumentsRequest(**lookup), metadata=who)],
            "list": [
                stub.ListCollections(gateway_pb2.ListCollectionsRequest(**in_tenant), metadata=who),
                stub.ListLabels(gateway_pb2.ListLabelsRequest(**in_tenant), metadata=who),
                stub.ListDocumentIds(gateway_pb2.ListDocumentIdsRequest(**in_tenant), metadata=who),
            ],
            "import": [store()],
        }
        for calls in unanswered.values():
            for call in calls:
                assert (await refusal(call)).reason == "RETRIEVAL_UNAVAILABLE"
        failed = Counter[str]()
        for series, count in metrics(gateway).items():
            if found := re.match(r'vecsec_vector_retrieval_failures_total\{operation="(\w+)"', series):
                failed[found[1]] += int(count)
        expected = Counter({operation: len(calls) for operation, calls in unanswered.items()})
        assert failed == expected + Counter(search=len(mocked))


async def test_an_open_circuit_closes_again(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=0.5) as gateway:
        gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(10_000, None)
        for _ in range(2):
            await search(gateway)
        assert metrics(gateway)["vecsec_circuits_open"] == 1
        del gateway.retrieval.scripts["SearchDocuments"]

        async def is_found_again() -> bool:
            return ids(await search(gateway)) == ["first", "second"]

        await until(is_found_again)
        assert metrics(gateway)["vecsec_circuits_open"] == 0


async def test_denials_never_open_the_circuit(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(AccessDenied("no"))
    for _ in range(10):
        assert (await refusal(search(gateway))).reason == "ACCESS_DENIED"
    assert gateway.retrieval.calls["SearchDocuments"] == 10


async def test_impatient_callers_cannot_open_the_circuit(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = hang
    answers = await asyncio.gather(*(search(gateway, timeout=0.3) for _ in range(8)), return_exceptions=True)
    assert len(answers) == 8
    del gateway.retrieval.scripts["SearchDocuments"]
    assert ids(await search(gateway)) == ["first", "second"]
