"""What a store keeps, refuses and gives back, against real services."""

import logging
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from support.stack import Stack

from langchain_vecsec import LabelKeys, VecSecVectorStore
from vecsec_client import DocumentsRejected, InvalidArgument, PermissionDenied, Sensitivity, VecSecClient, equals

DEFAULTS: dict[str, Any] = {"sensitivity": "INTERNAL", "topics": ["rag"]}
MakeStore = Callable[..., VecSecVectorStore]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[VecSecClient]:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    with VecSecClient(f"localhost:{stack.gateway_service.port}", token=token, default_tenant="tenant_a") as client:
        yield client


@pytest.fixture
def make_store(client: VecSecClient) -> MakeStore:
    def make(**settings: Any) -> VecSecVectorStore:
        return VecSecVectorStore(client, **{"collection": f"collection-{uuid4().hex}", **DEFAULTS, **settings})

    return make


@pytest.fixture
def store(make_store: MakeStore) -> VecSecVectorStore:
    return make_store()


def stored_label(client: VecSecClient, store: VecSecVectorStore, document_id: str) -> Any:
    return client.get_documents([document_id], collection=store._collection).documents[0]


async def test_metadata_comes_back_as_it_was(store: VecSecVectorStore) -> None:
    metadata = {
        "text": "Zeile eins\nZeile zwei \U0001f980 \t",
        "empty": "",
        "whole": 2**63 - 1,
        "negative": -(2**63),
        "zero": 0,
        "number": 0.1,
        "round": 1.0,
        "tiny": 5e-324,
        "yes": True,
        "no": False,
        "with.dots-and_more": "x",
        "half": np.float64(0.5),
    }
    (document_id,) = store.add_texts(["A passage."], [metadata])
    for found in (
        *store.get_by_ids([document_id]),
        *await store.aget_by_ids([document_id]),
        *store.similarity_search("passage", k=1),
        *store.similarity_search("passage", k=1, filter={"whole": 2**63 - 1, "yes": True, "number": 0.1}),
    ):
        assert found == Document("A passage.", id=document_id, metadata=metadata)
        assert {key: type(value) for key, value in found.metadata.items() if key != "half"} == {
            key: type(value) for key, value in metadata.items() if key != "half"
        }


@pytest.mark.parametrize(
    "value",
    [None, [1, 2], {"a": 1}, math.nan, math.inf, 2**63, b"x", datetime.now(UTC), np.int64(1), ("a",)],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_cannot_be_kept_is_named_and_nothing_is_stored(store: VecSecVectorStore, value: object) -> None:
    documents = [Document("Good.", id="good"), Document("Bad.", id="bad", metadata={"fine": 1, "odd key": value})]
    with pytest.raises(ValueError, match=r"document 'bad': metadata\['odd key'\]: .*(leave|store)"):
        store.add_documents(documents)
    assert store.get_by_ids(["good", "bad"]) == []


@pytest.mark.parametrize("key", ["_node_content", "odd key", "9lives", ""])
def test_a_key_that_the_services_refuse_is_named(store: VecSecVectorStore, key: str) -> None:
    with pytest.raises(DocumentsRejected) as refused:
        store.add_texts(["Good.", "Bad."], [{}, {key: "x"}], ids=["good", "bad"])
    assert refused.value.rejected[0].document_id == "bad"
    assert "metadata" in refused.value.message
    assert key in refused.value.message
    assert store.get_by_ids(["good", "bad"]) == []


def test_labels_come_from_metadata_or_else_from_the_store(client: VecSecClient, store: VecSecVectorStore) -> None:
    metadatas = [{}, {"sensitivity": "SECRET"}, {"topics": ["marketing", "rag"], "kind": "memo"}]
    store.add_texts(["One.", "Two.", "Three."], metadatas, ids=["1", "2", "3"])
    labels = [stored_label(client, store, each) for each in ("1", "2", "3")]
    assert [each.sensitivity for each in labels] == [Sensitivity.INTERNAL, Sensitivity.SECRET, Sensitivity.INTERNAL]
    assert [set(each.topics) for each in labels] == [{"rag"}, {"rag"}, {"marketing", "rag"}]
    assert [each.metadata for each in labels] == [{}, {}, {"kind": "memo"}]
    assert [each.metadata for each in store.get_by_ids(["1", "2", "3"])] == metadatas


def test_documents_that_a_store_reads_and_stores_again_keep_their_label(
    client: VecSecClient, make_store: MakeStore
) -> None:
    """Whatever its defaults: what is left out of metadata is that store's own."""
    first = make_store(sensitivity="SECRET", topics=["marketing"])
    other = make_store(sensitivity="PUBLIC", topics=["rag"], collection=first._collection)
    first.add_texts(["One.", "Two."], [{}, {"sensitivity": "PUBLIC", "topics": ["rag"]}], ids=["1", "2"])
    before = [stored_label(client, first, each) for each in ("1", "2")]
    for store in (other, first, other):
        store.add_documents(store.get_by_ids(["1", "2"]))
        assert [stored_label(client, first, each) for each in ("1", "2")] == before


def test_documents_that_go_on_to_another_store_keep_a_label_that_was_told(
    client: VecSecClient, make_store: MakeStore
) -> None:
    source = make_store(sensitivity="SECRET", topics=["marketing"], tell_labels=True)
    target = make_store(sensitivity="PUBLIC", topics=["rag"])
    source.add_texts(["One."], [{"kind": "memo"}], ids=["1"])
    told = source.get_by_ids(["1"])
    assert told[0].metadata == {"kind": "memo", "sensitivity": "SECRET", "topics": ["marketing"]}
    target.add_documents(told)
    assert stored_label(client, target, "1") == stored_label(client, source, "1")


def test_a_document_without_a_label_is_refused(make_store: MakeStore) -> None:
    store = make_store(sensitivity=None, topics=())
    with pytest.raises(ValueError, match=r"document '1': a document without sensitivity: give the store sensitivity="):
        store.add_texts(["One."], ids=["1"])
    with pytest.raises(ValueError, match=r"a document without topics.*'topics' in the document's metadata"):
        store.add_texts(["One."], [{"sensitivity": "PUBLIC"}], ids=["1"])
    store.add_texts(["One."], [{"sensitivity": "PUBLIC", "topics": ["rag"]}], ids=["1"])
    assert store.get_by_ids(["1"])[0].metadata == {"sensitivity": "PUBLIC", "topics": ["rag"]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"sensitivity": "publik"}, "sensitivity: 'publik' is unknown; known: PUBLIC, INTERNAL, CONFIDENTIAL, SECRET"),
        ({"topics": "rag"}, "topics: must be a list of texts, not 'rag'"),
        ({"readers": "user:alice"}, "readers: must be a list of texts"),
        ({"attributes": ["x"]}, "attributes: must be a dictionary"),
    ],
)
def test_a_label_that_is_none_is_refused(make_store: MakeStore, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_store().add_texts(["One."], [metadata])
    with pytest.raises(ValueError, match=message):
        make_store(**metadata)


def test_label_keys_may_be_others_or_none(client: VecSecClient, make_store: MakeStore) -> None:
    store = make_store(label_keys=LabelKeys(sensitivity="level", topics=None))
    store.add_texts(["One."], [{"level": "SECRET", "topics": "all sorts", "sensitivity": "high"}], ids=["1"])
    stored = stored_label(client, store, "1")
    assert (stored.sensitivity, stored.topics) == (Sensitivity.SECRET, ("rag",))
    assert stored.metadata == {"topics": "all sorts", "sensitivity": "high"}
    assert len(store.similarity_search("one", filter={"topics": "all sorts"})) == 1
    with pytest.raises(ValueError, match="each part of a label needs a key of its own"):
        LabelKeys(sensitivity="label", topics="label")


def test_what_a_label_is_hidden_behind_is_told_by_the_label(client: VecSecClient, make_store: MakeStore) -> None:
    """Metadata of another client may say PUBLIC of a row that is not."""
    plain = make_store(label_keys=LabelKeys(sensitivity=None))
    plain.add_texts(["One."], [{"sensitivity": "PUBLIC"}], ids=["1"])
    store = make_store(collection=plain._collection)
    assert store.get_by_ids(["1"])[0].metadata == {"sensitivity": "INTERNAL"}
    store.add_documents(store.get_by_ids(["1"]))
    assert stored_label(client, store, "1").sensitivity is Sensitivity.INTERNAL


def test_filters_are_conditions_of_the_services(store: VecSecVectorStore) -> None:
    years = range(2019, 2025)
    store.add_texts(
        [f"Report of {year}." for year in years],
        [{"year": year, "kind": "report" if year % 2 else "memo"} for year in years],
        ids=[str(year) for year in years],
    )

    def found(condition: Any) -> list[str]:
        return sorted(str(each.id) for each in store.similarity_search("report", k=10, filter=condition))

    assert found({"year": {"$gte": 2020, "$lt": 2023}, "kind": "memo"}) == ["2020", "2022"]
    assert found({"$or": [{"year": 2019}, {"kind": {"$in": ["memo"]}}]}) == ["2019", "2020", "2022", "2024"]
    assert found({"$and": [{"year": {"$gt": 2020}}, {"year": {"$lte": 2021}}]}) == ["2021"]
    assert found(equals("kind", "memo")) == ["2020", "2022", "2024"]
    assert found(None) == [str(year) for year in years]
    chosen = store.max_marginal_relevance_search("report", k=2, filter={"kind": "memo"})
    assert {each.metadata["kind"] for each in chosen} == {"memo"}


@pytest.mark.parametrize("k", [0, -1, 1001, True, 2.5, "3", None])
async def test_a_number_of_rows_that_nobody_can_have_is_refused(store: VecSecVectorStore, k: Any) -> None:
    for search in (store.similarity_search, store.similarity_search_with_score, store.max_marginal_relevance_search):
        with pytest.raises(ValueError, match=r"^k: must be 1 to 1,000, not "):
            search("what?", k=k)
    with pytest.raises(ValueError, match=r"^k: must be"):
        await store.asimilarity_search("what?", k=k)
    with pytest.raises(ValueError, match=r"^k: must be"):
        store.as_retriever(token="t").invoke("what?", k=k)
    with pytest.raises(ValueError, match=r"^fetch_k: must be"):
        store.max_marginal_relevance_search("what?", fetch_k=k)
    with pytest.raises(ValueError, match="lambda_mult: must be 0 to 1"):
        store.max_marginal_relevance_search("what?", lambda_mult=1.5)


async def test_diverse_rows_need_a_model_here_or_a_role_that_may_see_embeddings(
    stack: Stack, make_store: MakeStore
) -> None:
    texts = ["Ranking by cosine.", "Ranking by cosine!", "A recipe for soup."]
    analyst = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")
    of_the_services, here = make_store(), make_store(embedding=DeterministicFakeEmbedding(size=16))
    for store in (of_the_services, here):
        store.add_texts(texts)
        by_both = [
            store.max_marginal_relevance_search(texts[0], k=2, lambda_mult=0.1),
            await store.amax_marginal_relevance_search(texts[0], k=2, lambda_mult=0.1),
        ]
        assert by_both[0] == by_both[1]
    diverse = of_the_services.max_marginal_relevance_search(texts[0], k=2, lambda_mult=0.3)
    assert [each.page_content for each in diverse] == [texts[0], texts[2]]
    nearest = of_the_services.max_marginal_relevance_search(texts[0], k=2, lambda_mult=1)
    assert nearest == of_the_services.similarity_search(texts[0], k=2)
    vector = here.embeddings.embed_query(texts[1])  # type: ignore[union-attr]
    assert here.similarity_search_by_vector(vector, k=1)[0].page_content == texts[1]
    assert (await here.asimilarity_search_by_vector(vector, k=1))[0].page_content == texts[1]
    assert here.max_marginal_relevance_search_by_vector(vector, k=1)[0].page_content == texts[1]
    assert (await here.amax_marginal_relevance_search_by_vector(vector, k=1))[0].page_content == texts[1]
    assert len(here.with_token(analyst).max_marginal_relevance_search(texts[0], k=2)) == 2
    with pytest.raises(PermissionDenied, match="embeddings are only for") as refused:
        of_the_services.with_token(analyst).max_marginal_relevance_search(texts[0], k=2)
    assert "give it one" in refused.value.__notes__[0]
    assert make_store(embedding=DeterministicFakeEmbedding(size=16)).max_marginal_relevance_search("what?") == []


def test_scores_are_cosine_similarities_and_relevance_lies_between_0_and_1(make_store: MakeStore) -> None:
    store = make_store(embedding=DeterministicFakeEmbedding(size=4))
    texts = [f"Text {number}" for number in range(12)]
    store.add_texts(texts)
    scored = store.similarity_search_with_score(texts[0], k=12)
    assert [score for _, score in scored] == sorted((score for _, score in scored), reverse=True)
    assert scored[0][1] == pytest.approx(1.0, abs=1e-3)
    assert scored[-1][1] < 0
    relevant = store.similarity_search_with_relevance_scores(texts[0], k=12)
    assert [score for _, score in relevant] == [min(1.0, max(0.0, score)) for _, score in scored]


async def test_more_ids_than_one_call_takes(store: VecSecVectorStore) -> None:
    ids = [f"id-{number}" for number in range(1002)]
    store.add_texts(["Passage."] * 2, ids=[ids[0], ids[-1]])
    assert {each.id for each in store.get_by_ids(ids)} == {ids[0], ids[-1]}
    assert len(await store.aget_by_ids(ids)) == 2
    assert store.delete(ids) is True
    assert store.get_by_ids(ids) == []
    assert await store.adelete(ids) is True


def test_a_collection_is_deleted_by_nobody_by_accident(store: VecSecVectorStore) -> None:
    store.add_texts(["Passage."], ids=["1"])
    with pytest.raises(ValueError, match="ids: name the documents to delete"):
        store.delete()
    with pytest.raises(ValueError, match="must be a list, not the one text '1'"):
        store.delete("1")
    with pytest.raises(ValueError, match="unknown argument filter"):
        store.delete(["1"], filter={"kind": "memo"})
    assert len(store.get_by_ids(["1"])) == 1


def test_lists_that_do_not_fit_together_are_refused(store: VecSecVectorStore) -> None:
    for wrong in ({"ids": ["1"]}, {"ids": "ab"}, {"metadatas": [{}]}):
        with pytest.raises(ValueError, match=r"for 2 (texts|documents)"):
            store.add_texts(["One.", "Two."], **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not one text"):
        store.add_texts("One.")
    with pytest.raises(ValueError, match="unknown argument batch"):
        store.add_texts(["One."], batch=1)
    with pytest.raises(InvalidArgument, match="batch_size: must be 1 to 1000"):
        store.add_texts(["One."], batch_size=0)
    assert store.add_texts([]) == []


async def test_a_store_of_texts(client: VecSecClient) -> None:
    settings = {"client": client, "collection": f"collection-{uuid4().hex}", **DEFAULTS}
    store = VecSecVectorStore.from_texts(["One."], None, [{"n": 1}], ids=["1"], **settings)
    await VecSecVectorStore.afrom_texts(["Two."], None, ids=["2"], **settings)
    VecSecVectorStore.from_documents([Document("Three.", id="3")], None, **settings)
    assert {each.id for each in store.get_by_ids(["1", "2", "3"])} == {"1", "2", "3"}
    with pytest.raises(ValueError, match="client: give a"):
        VecSecVectorStore.from_texts(["One."], None)


def test_langchains_indexing_adds_what_is_new_and_deletes_what_is_gone(store: VecSecVectorStore) -> None:
    records = InMemoryRecordManager("notes")
    records.create_schema()

    def index_all(*documents: Document) -> dict[str, int]:
        settings: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
        result = index(documents, records, store, batch_size=2000, **settings)
        return {name: number for name, number in result.items() if number}

    one, two, changed = (Document(text, metadata={"source": text[0]}) for text in ("1 a", "2 a", "2 b"))
    assert index_all(one, two) == {"num_added": 2}
    assert index_all(one, two) == {"num_skipped": 2}
    assert index_all(one, changed) == {"num_added": 1, "num_skipped": 1, "num_deleted": 1}
    assert {each.page_content for each in store.similarity_search("note", k=10)} == {"1 a", "2 b"}


async def test_langchains_asynchronous_indexing_too(store: VecSecVectorStore) -> None:
    records = InMemoryRecordManager("notes")
    documents = [Document("1 a", metadata={"source": "1"}), Document("2 a", metadata={"source": "2"})]
    settings: dict[str, Any] = {"cleanup": "incremental", "source_id_key": "source", "key_encoder": "sha256"}
    assert (await aindex(documents, records, store, **settings))["num_added"] == 2
    documents[1] = Document("2 b", metadata={"source": "2"})
    result = await aindex(documents, records, store, **settings)
    assert (result["num_added"], result["num_deleted"]) == (1, 1)
    assert {each.page_content for each in await store.asimilarity_search("note", k=10)} == {"1 a", "2 b"}


def test_a_collection_that_is_not_there_is_empty_and_said_so(
    store: VecSecVectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "langchain_vecsec"):
        assert store.similarity_search("what?") == []
    assert f"taken for empty: no collection '{store._collection}'" in caplog.text
