"""Searching, reading and listing: what a grant makes visible, and nothing that tells of the rest."""

from collections.abc import Awaitable
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.refusals import Refusal, refusal
from support.retrieval_alone import (
    INTERNAL,
    PUBLIC,
    SECONDS,
    SECRET,
    Service,
    Signer,
    document,
    running,
    text_value,
    vector_query,
    whole,
)
from unit.retrieval.worlds import up_to

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import document_pb2, filter_pb2, query_pb2, value_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Sensitivity


async def test_the_nearest_visible_documents_come_first(service: Service) -> None:
    await service.load(
        document("cats", "Cats and kittens purr and sleep all day", PUBLIC),
        document("ships", "The ship sails across the stormy ocean", INTERNAL),
        document("secret", "Kittens: the secret kitten programme", SECRET),
    )
    answer = await service.search(
        service.signer.grant(residual=up_to(Sensitivity.INTERNAL), may_configure=True),
        query=query_pb2.Query(text="kitten"),
    )
    assert [result.document.document_id for result in answer.results] == ["cats", "ships"]
    assert answer.metric == document_pb2.SIMILARITY_METRIC_FUSED_RANKS
    assert answer.mode == query_pb2.SEARCH_MODE_HYBRID
    assert answer.strategy == "exact_scan"
    best = answer.results[0]
    assert 0 < answer.results[1].score < best.score == 1, "the first of both"
    assert -1 <= answer.results[1].vector_score <= best.vector_score <= 1
    assert best.text_score > 0
    assert best.provenance == document_pb2.PROVENANCE_REAL
    assert best.document.text.startswith("Cats")
    assert best.document.label.tenant_id == "tenant_a"
    assert list(best.document.label.topics) == ["marketing"]
    assert not best.document.embedding


async def test_how_an_answer_was_found_is_told_to_those_alone_who_may_configure(service: Service) -> None:
    await service.load(document("one"))
    assert (await service.search()).strategy == ""
    assert (await service.search(service.signer.grant(may_configure=True))).strategy == "exact_scan"
    assert service.metric('vecsec_search_strategy_total{strategy="exact_scan"}') == 2


async def test_k_visible_documents_are_found_though_hidden_ones_are_nearer(service: Service) -> None:
    await service.load(
        *(document(f"hidden-{number}", "exactly what is looked for", SECRET) for number in range(300)),
        *(document(f"visible-{number}", f"something else {number}", PUBLIC) for number in range(12)),
    )
    found = await service.ids(
        service.signer.grant(residual=up_to(Sensitivity.PUBLIC)),
        query=query_pb2.Query(text="exactly what is looked for"),
        k=12,
    )
    assert len(found) == 12
    assert all(document_id.startswith("visible") for document_id in found)
    assert service.metric('vecsec_search_strategy_total{strategy="exact_scan"}') == 1
    assert service.metric("vecsec_rows_filtered_total") == 300


async def test_metadata_and_attributes_come_back_typed(service: Service) -> None:
    await service.load(
        document(
            "one",
            metadata={
                "text": text_value("x"),
                "whole": whole(2**60),
                "number": value_pb2.Value(number_value=2.0),
                "flag": value_pb2.Value(boolean_value=False),
            },
            attributes={
                "owner": text_value("alice"),
                "regions": value_pb2.Value(string_list_value=value_pb2.StringList(values=["eu", "us"])),
            },
        )
    )
    [found] = await service.get("one")
    assert found.metadata["whole"].integer_value == 2**60
    assert found.metadata["number"].number_value == 2.0
    assert found.metadata["number"].WhichOneof("kind") == "number_value"
    assert found.metadata["flag"].WhichOneof("kind") == "boolean_value"
    assert found.label.attributes["owner"].string_value == "alice"
    assert list(found.label.attributes["regions"].string_list_value.values) == ["eu", "us"]


async def test_filters_narrow_a_search(service: Service) -> None:
    await service.load(*(document(f"d{year}", metadata={"year": whole(year)}) for year in range(2000, 2010)))

    def years(**bounds: float) -> filter_pb2.MetadataFilter:
        return filter_pb2.MetadataFilter(range=filter_pb2.MetadataFilter.Range(key="year", **bounds))

    assert set(await service.ids(filter=years(more_than=2007))) == {"d2008", "d2009"}
    either = filter_pb2.MetadataFilter(
        any_of=filter_pb2.MetadataFilter.AnyOf(
            filters=[
                years(at_most=2000),
                filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key="year", value=whole(2005))),
            ]
        )
    )
    assert set(await service.ids(filter=either)) == {"d2000", "d2005"}
    one_of = {"in": filter_pb2.MetadataFilter.In(key="year", values=[whole(2001), whole(1990)])}
    assert await service.ids(filter=filter_pb2.MetadataFilter(**one_of)) == ["d2001"]  # type: ignore[arg-type]


async def test_get_leaves_out_missing_and_hidden_alike_and_keeps_the_order(service: Service) -> None:
    await service.load(document("a"), document("b"), document("c", sensitivity=SECRET))
    found = await service.get(
        "b", "nothing", "c", "a", "b", grant=service.signer.grant(residual=up_to(Sensitivity.INTERNAL))
    )
    assert [each.document_id for each in found] == ["b", "a"]


async def test_delete_counts_what_may_not_be_deleted_as_absent(service: Service) -> None:
    await service.load(document("a"), document("b"), document("c", sensitivity=SECRET))
    grant = service.signer.grant(Action.DELETE, up_to(Sensitivity.INTERNAL))
    assert await service.delete("a", "c", "nothing", "a", grant=grant) == 1
    assert {each.document_id for each in await service.get("a", "b", "c")} == {"b", "c"}
    assert await service.ids() == ["b", "c"]


async def test_lists_hold_visible_collections_and_counts_alone(service: Service) -> None:
    await service.load(document("a", sensitivity=PUBLIC), document("b", sensitivity=SECRET))
    await service.load(document("c", sensitivity=SECRET), collection_id="hidden")
    assert await service.collections() == {"documents": 2, "hidden": 1}
    assert await service.collections(service.signer.grant(residual=up_to(Sensitivity.PUBLIC))) == {"documents": 1}
    assert await service.collections(service.signer.grant(tenant_id="tenant_b")) == {}


async def test_the_same_id_in_two_tenants_is_two_documents(service: Service) -> None:
    await service.load(document("one", "of a"))
    await service.load(document("one", "of b"), tenant_id="tenant_b")
    assert await service.delete("one") == 1
    assert await service.get("one") == []
    [other] = await service.get("one", grant=service.signer.grant(tenant_id="tenant_b"))
    assert (other.text, other.label.tenant_id) == ("of b", "tenant_b")


async def test_reading_makes_no_cell(service: Service) -> None:
    assert await service.ids() == []
    assert await service.get("one") == []
    assert await service.collections() == {}
    assert await service.delete("one") == 0
    assert [entry.name for entry in service.chroma.iterdir() if entry.is_dir()] == []


async def test_a_hidden_collection_and_an_absent_one_are_refused_with_the_same_bytes(service: Service) -> None:
    await service.load(document("one", sensitivity=SECRET, metadata={"x": whole(1)}), collection_id="the-one")
    await service.load(document("own", sensitivity=PUBLIC))
    little = service.signer.grant(residual=up_to(Sensitivity.PUBLIC))
    little_delete = service.signer.grant(Action.DELETE, up_to(Sensitivity.PUBLIC))

    async def refusals(collection_id: str) -> list[Refusal]:
        calls: list[Awaitable[object]] = [
            service.search(little, collection_id=collection_id),
            service.search(little, collection_id=collection_id, query=vector_query(1, 2)),
            service.search(
                little,
                collection_id=collection_id,
                filter=filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key="x", value=whole(1))),
            ),
            service.get("one", grant=little, collection_id=collection_id),
            service.delete("one", grant=little_delete, collection_id=collection_id),
        ]
        return [await refusal(call) for call in calls]

    hidden, absent = await refusals("the-one"), await refusals("the-two")
    for seen, unseen in zip(hidden, absent, strict=True):
        assert seen.code is grpc.StatusCode.NOT_FOUND
        assert seen.reason == "COLLECTION_NOT_FOUND"
        assert seen.details.replace(b"the-one", b"the-two") == unseen.details
    assert await service.ids(little) == ["own"]


async def test_a_key_that_only_hidden_documents_have_is_unknown(service: Service) -> None:
    await service.load(
        document("one", sensitivity=SECRET, metadata={"codename": whole(1)}), document("two", sensitivity=PUBLIC)
    )

    async def refused(key: str) -> Refusal:
        condition = filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key=key, value=whole(1)))
        return await refusal(service.search(service.signer.grant(residual=up_to(Sensitivity.PUBLIC)), filter=condition))

    hidden, absent = await refused("codename"), await refused("codenamf")
    assert hidden.fields == ("filter.equals.key",)
    assert hidden.details.replace(b"codename", b"codenamf") == absent.details
    for reserved in ("vs_tenant", "vs_label"):
        assert (await refused(reserved)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_embeddings_are_for_callers_who_may_configure(service: Service) -> None:
    vectors = {"a": [3.0, 4.0, 0.0], "b": [0.0, 0.0, 2.0]}
    await service.load(*(document(name, embedding=vector) for name, vector in vectors.items()))
    for call in (
        service.search(query=vector_query(1, 1, 1), include_embeddings=True),
        service.get("a", include_embeddings=True),
    ):
        assert (await refusal(call)).reason == "ACCESS_DENIED"
    administrator = service.signer.grant(may_configure=True)
    answer = await service.search(administrator, query=vector_query(3, 4, 0), include_embeddings=True)
    assert [result.document.document_id for result in answer.results] == ["a", "b"]
    for found in [result.document for result in answer.results] + await service.get(
        "a", "b", grant=administrator, include_embeddings=True
    ):
        np.testing.assert_allclose(found.embedding, vectors[found.document_id], rtol=1e-6)
    assert all(
        not result.document.embedding
        for result in (await service.search(administrator, query=vector_query(1, 1, 1))).results
    )


async def test_collections_keep_their_model_and_dimensions(service: Service) -> None:
    await service.load(document("a", embedding=[1, 0]), collection_id="mine")
    refused = [
        (service.search(collection_id="mine"), "query.text"),
        (service.search(collection_id="mine", query=vector_query(1)), "query.vector.values"),
        (service.search(collection_id="mine", query=vector_query(0, 0)), "query.vector.values"),
        (service.load(document("b", embedding=[1, 0, 0]), collection_id="mine"), "documents[0].embedding"),
        (service.load(document("b", embedding=[0, 0]), collection_id="mine"), "documents[0].embedding"),
        (service.load(document("b"), collection_id="mine"), "documents[0].embedding"),
        (
            service.load(document("b", embedding=[1, 0]), collection_id="mine", embedding_model="wordllama"),
            "embedding_model",
        ),
        (service.load(document("b"), collection_id="other", embedding_model="gpt-9"), "embedding_model"),
        (service.load(document("b"), document("c", embedding=[1, 0]), collection_id="other"), "documents[1].embedding"),
        (service.load(document("b"), collection_id="other", embedding_model="external"), "documents[0].embedding"),
    ]
    for call, field_name in refused:
        assert (await refusal(call)).fields == (field_name,)
    assert await service.collections() == {"mine": 1}
    await service.load(document("b", embedding=[0, 1]), collection_id="mine", embedding_model="external")
    request = pb.ListCollectionsRequest(grant=service.signer.grant())
    [listed] = (await service.stub.ListCollections(request)).collections
    assert (listed.embedding_model, listed.dimensions, listed.document_count) == ("external", 2, 2)
    assert listed.metric == document_pb2.SIMILARITY_METRIC_COSINE


async def test_a_hidden_collections_model_is_not_told(service: Service) -> None:
    await service.load(document("a", sensitivity=SECRET, embedding=[1, 0]), collection_id="hidden")
    little = service.signer.grant(Action.WRITE, up_to(Sensitivity.PUBLIC))

    async def refused(collection_id: str, model: str, grant: str = little) -> Refusal:
        return await refusal(
            service.load(
                document("b", sensitivity=PUBLIC), grant=grant, collection_id=collection_id, embedding_model=model
            )
        )

    assert (await refused("hidden", "nope")).details == (await refused("absent", "nope")).details
    secretive, open_hearted = (
        await refused("hidden", "wordllama"),
        await refused("hidden", "wordllama", service.signer.grant(Action.WRITE)),
    )
    assert secretive.fields == open_hearted.fields == ("embedding_model",)
    assert "external" not in secretive.message
    assert "external" in open_hearted.message


async def test_answers_that_would_be_too_large_are_refused_before_they_are_built(
    tmp_path: Path, signer: Signer
) -> None:
    async with running(tmp_path, signer, max_answer_bytes=10_000) as service:
        await service.load(*(document(f"d{number}", "ü" * 1_000) for number in range(8)))
        assert len(await service.ids(k=4)) == 4
        assert len(await service.get(*(f"d{number}" for number in range(4)))) == 4
        for call in (service.ids(k=8), service.get(*(f"d{number}" for number in range(8)))):
            refused = await refusal(call)
            assert refused.reason == "LIMIT_EXCEEDED"
            assert "the first 4 of 8 documents fit" in refused.message


async def test_an_import_that_says_nothing_ends(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.handlers._FIRST_MESSAGE_SECONDS", 0.2)
    monkeypatch.setattr("vecsec_chassis.rpc.request_interceptor._IDLE_STREAM_SECONDS", 5)
    async with running(tmp_path, signer) as service:
        call = service.stub.ImportDocuments(timeout=SECONDS)
        assert (await refusal(call.read())).reason == "DEADLINE_EXCEEDED"
        monkeypatch.setattr("vecsec_retrieval.handlers._FIRST_MESSAGE_SECONDS", 60)
        call = service.stub.ImportDocuments(timeout=SECONDS)
        await call.write(pb.ImportDocumentsRequest(grant=signer.grant(Action.WRITE), documents=[document("one")]))
        assert (await call.read()).stored_count == 1
        await call.write(pb.ImportDocumentsRequest(documents=[document("two")]))
        assert (await call.read()).stored_count == 1
        assert (await refusal(call.read())).reason == "DEADLINE_EXCEEDED"
        assert await service.ids() == ["one", "two"]
