"""Imports: what is acknowledged is stored, and what is cut off can be taken up again."""

from pathlib import Path

import numpy as np
import pytest
from support.refusals import refusal
from support.retrieval_alone import PUBLIC, SECONDS, Service, Signer, document, running, whole
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import query_pb2
from vecsec_chassis.domain.access import Action


async def test_imports_replace_and_leave_nothing_of_what_was_there(service: Service) -> None:
    await service.load(document("one", "old", metadata={"old": whole(1), "kept": whole(1)}))
    [answer] = await service.load(document("one", "new", PUBLIC, metadata={"kept": whole(2)}))
    assert (answer.batch_number, answer.stored_count, answer.total_stored_count) == (1, 1, 1)
    [found] = await service.get("one")
    assert (found.text, found.label.sensitivity, dict(found.metadata)) == ("new", PUBLIC, {"kept": whole(2)})
    assert await service.collections() == {"documents": 1}


async def test_a_stream_answers_each_batch_and_needs_its_grant_once(service: Service) -> None:
    grant = service.signer.grant(Action.WRITE)
    batches = [
        pb.ImportDocumentsRequest(
            grant=grant if number == 0 else "", documents=[document(f"{number}-{row}") for row in range(3)]
        )
        for number in range(3)
    ]
    answers = await service.load_all(batches)
    assert [(each.batch_number, each.stored_count, each.total_stored_count) for each in answers] == [
        (1, 3, 3),
        (2, 3, 6),
        (3, 3, 9),
    ]


async def test_an_import_that_is_cut_off_is_taken_up_again(tmp_path: Path, signer: Signer) -> None:
    batches = [
        pb.ImportDocumentsRequest(
            grant=signer.grant(Action.WRITE), documents=[document(f"{number}-{row}") for row in range(50)]
        )
        for number in range(4)
    ]
    async with running(tmp_path, signer) as first:
        call = first.stub.ImportDocuments(timeout=SECONDS)
        await call.write(batches[0])
        assert (await call.read()).batch_number == 1
        await call.write(batches[1])
        call.cancel()
    async with running(tmp_path, signer) as second:
        count = (await second.collections())["documents"]
        assert count in {50, 100}, "a batch is stored whole or not at all"
        assert len(await second.load_all(batches)) == 4
        assert await second.collections() == {"documents": 200}
        assert len(await second.ids(k=500)) == 200


@pytest.mark.parametrize(
    ("mode", "strategy"),
    [
        (query_pb2.SEARCH_MODE_VECTOR, "chroma_overfetch"),
        (query_pb2.SEARCH_MODE_TEXT, "read_through"),
        (query_pb2.SEARCH_MODE_HYBRID, "read_through"),
    ],
)
async def test_acknowledged_documents_are_there_after_a_restart_and_become_hot(
    tmp_path: Path,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
    mode: query_pb2.SearchMode.ValueType,
    strategy: str,
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SHARE", 0)
    query = query_pb2.Query(text="passage 7")
    async with running(tmp_path, signer) as first:
        await first.load(*(document(f"d{number}", f"passage {number}", PUBLIC) for number in range(200)))
        expected = await first.search(query=query, mode=mode)
    async with running(tmp_path, signer) as second:
        configurer = signer.grant(may_configure=True)
        cold = await second.search(configurer, query=query, mode=mode)
        assert cold.strategy == strategy

        async def is_hot() -> bool:
            return (await second.search(configurer)).strategy == "exact_scan"

        await until(is_hot)
        hot = await second.search(query=query, mode=mode)
        for answer in (cold, hot):
            assert answer.results[0].document == expected.results[0].document
            np.testing.assert_allclose(
                [each.score for each in answer.results], [each.score for each in expected.results], atol=1e-5
            )
        if mode != query_pb2.SEARCH_MODE_VECTOR:  # by words nothing is approximate, wherever the rows are
            assert list(cold.results) == list(hot.results) == list(expected.results)


async def test_a_batch_in_parts_is_stored_with_its_last_one(service: Service) -> None:
    grant = service.signer.grant(Action.WRITE)
    parts = [
        pb.ImportDocumentsRequest(grant=grant, documents=[document("one")], continues=True),
        pb.ImportDocumentsRequest(documents=[document("two")], continues=True),
        pb.ImportDocumentsRequest(documents=[document("three")]),
        pb.ImportDocumentsRequest(documents=[document("four")]),
    ]
    answers = await service.load_all(parts)
    assert [(each.batch_number, each.stored_count) for each in answers] == [(1, 3), (2, 1)]


async def test_of_a_batch_whose_last_part_never_comes_nothing_is_stored(service: Service) -> None:
    grant = service.signer.grant(Action.WRITE)
    part = pb.ImportDocumentsRequest(grant=grant, documents=[document("one")], continues=True)
    refused = await refusal(service.load_all([part]))
    assert refused.fields == ("continues",)
    assert await service.collections() == {}


async def test_nothing_is_kept_of_a_part_without_a_good_grant(service: Service) -> None:
    for grant in ("", service.signer.grant(Action.READ)):
        part = pb.ImportDocumentsRequest(grant=grant, documents=[document("one")], continues=True)
        assert (await refusal(service.load_all([part, part]))).reason == "INVALID_GRANT"


async def test_parts_together_are_no_larger_than_a_batch_may_be(tmp_path: Path, signer: Signer) -> None:
    def part(number: int) -> pb.ImportDocumentsRequest:
        return pb.ImportDocumentsRequest(
            grant=signer.grant(Action.WRITE), documents=[document(f"{number}", "x" * 800)], continues=True
        )

    async with running(tmp_path, signer, max_message_bytes=2_000) as service:
        refused = await refusal(service.load_all([part(number) for number in range(5)]))
        assert refused.fields == ("documents",)
        assert "2,000" in refused.message
