"""What LlamaIndex's store keeps, refuses and gives back, and to whom, against real services."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from pydantic import SecretStr
from support.stack import Stack
from support.waiting import until

from llama_index.vector_stores.vecsec import MADE_UP_KEY, VecSecVectorStore
from vecsec_client import (
    AsyncVecSecClient,
    DeleteResult,
    DocumentInput,
    DocumentsRejected,
    InvalidArgument,
    PermissionDenied,
    Sensitivity,
    Unauthenticated,
    Unavailable,
    VecSecClient,
)
from vecsec_client.frameworks.values import in_parts

DEFAULTS: dict[str, Any] = {"sensitivity": "INTERNAL", "topics": ["rag"]}
MakeStore = Callable[..., VecSecVectorStore]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[VecSecClient]:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    with VecSecClient(f"localhost:{stack.gateway_service.port}", token=token, default_tenant="tenant_a") as client:
        yield client


@pytest.fixture
def make_store(client: VecSecClient, stack: Stack) -> MakeStore:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    asynchronous = AsyncVecSecClient(f"localhost:{stack.gateway_service.port}", token=token, default_tenant="tenant_a")

    def make(**settings: Any) -> VecSecVectorStore:
        given = {"async_client": asynchronous, "collection": f"collection-{uuid4().hex}", **DEFAULTS, **settings}
        return VecSecVectorStore(client, **given)

    return make


@pytest.fixture
def store(make_store: MakeStore) -> VecSecVectorStore:
    return make_store()


def asked(text: str = "what?", k: int = 10, **more: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_str=text, similarity_top_k=k, **more)


def filters(*single: tuple[str, str, Any], condition: str = "and") -> MetadataFilters:
    parts = [MetadataFilter(key=key, operator=FilterOperator(sign), value=value) for key, sign, value in single]
    return MetadataFilters(filters=parts, condition=condition)  # type: ignore[arg-type]


def stored(client: VecSecClient, store: VecSecVectorStore, node_id: str) -> Any:
    return client.get_documents([node_id], collection=store._collection.name).documents[0]


def node(node_id: str, text: str = "A passage.", /, **metadata: Any) -> TextNode:
    return TextNode(id_=node_id, text=text, metadata=metadata)


METADATA: dict[str, Any] = {
    "text": "Zeile eins\nZeile zwei \U0001f980 \t",
    "empty": "",
    "whole": 2**63 - 1,
    "number": 0.1,
    "round": 1.0,
    "yes": True,
    "null": None,
    "list": [1, "two", None, {"deep": [3.5]}],
    "odd key": "x",
    "_private": 1,
    "huge": 2**70,
    "long": "\U0001f980 long " * 2000,
    "llama_index.node_content.1": "mine",
}


async def test_nodes_come_back_as_they_were(store: VecSecVectorStore) -> None:
    given = TextNode(
        id_="1",
        text="A passage.",
        metadata=METADATA,
        excluded_embed_metadata_keys=["text"],
        excluded_llm_metadata_keys=["list"],
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id="source", metadata={"title": "T"}, hash="h"),
            NodeRelationship.NEXT: RelatedNodeInfo(node_id="2"),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="3"), RelatedNodeInfo(node_id="4")],
        },
        start_char_idx=3,
        end_char_idx=13,
        metadata_template="{key}={value}",
        text_template="{metadata_str}: {content}",
    )
    pointer = IndexNode(id_="2", text="Points.", index_id="elsewhere", metadata={"n": 1})
    assert store.add([given, pointer]) == ["1", "2"]
    for found in (
        store.get_nodes(["1", "2"]),
        await store.aget_nodes(["1", "2"]),
        store.query(asked(k=2)).nodes,
        (await store.aquery(asked(k=2))).nodes,
    ):
        assert found is not None
        assert {each.node_id: each for each in found} == {"1": given, "2": pointer}
        assert {each.node_id: type(each) for each in found} == {"1": TextNode, "2": IndexNode}
        assert {each.node_id: each.hash for each in found} == {"1": given.hash, "2": pointer.hash}
    assert [
        each.node_id for each in store.get_nodes(filters=filters(("whole", "==", 2**63 - 1), ("round", "==", 1)))
    ] == ["1"]


async def test_an_index_is_filled_searched_and_renewed(store: VecSecVectorStore) -> None:
    """The way through LlamaIndex itself: splitter, index, retriever, delete by document."""
    text = " ".join(f"Sentence {number} tells of ranking." for number in range(60))
    documents = [Document(id_=name, text=text, metadata={"name": name}) for name in ("one", "two")]
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(
        documents,
        storage_context=context,
        transformations=[SentenceSplitter(chunk_size=120, chunk_overlap=10)],
        embed_model=MockEmbedding(embed_dim=1),
    )
    everything = store.get_nodes()
    assert {each.ref_doc_id for each in everything} == {"one", "two"}
    some = next(each for each in everything if NodeRelationship.PREVIOUS in each.relationships)
    assert some.relationships[NodeRelationship.SOURCE].metadata["name"] == some.metadata["name"]  # type: ignore[union-attr]
    retriever = index.as_retriever(similarity_top_k=3, filters=filters(("name", "==", "one")))
    for found in (retriever.retrieve("ranking"), await retriever.aretrieve("ranking")):
        assert len(found) == 3
        assert {each.node.ref_doc_id for each in found} == {"one"}
        assert all(-1 <= (each.score or 0) <= 1 for each in found)
    assert len(index.as_retriever(doc_ids=["two"], similarity_top_k=50).retrieve("ranking")) == len(everything) / 2
    index.delete_ref_doc("one")
    await index.adelete_ref_doc("nobody's")
    assert {each.ref_doc_id for each in store.get_nodes()} == {"two"}
    await store.adelete("two")
    assert store.get_nodes() == []
    store.delete("two")


def test_an_ingestion_pipeline_replaces_what_has_changed(store: VecSecVectorStore) -> None:
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), MockEmbedding(embed_dim=1)],  # it stores nothing without an embedding
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    for text in ("Before.", "Before.", "After."):
        pipeline.run(documents=[Document(id_="one", text=text), Document(id_="other", text="Other.")])
        assert sorted(each.get_content() for each in store.get_nodes()) == sorted([text, "Other."])


async def test_every_way_to_delete(store: VecSecVectorStore) -> None:
    await store.async_add([node(str(number), number=number) for number in range(8)])
    store.delete_nodes(["0"])
    await store.adelete_nodes(["1", "nobody's"])
    store.delete_nodes(filters=filters(("number", "<", 4)))
    await store.adelete_nodes(["4", "5"], filters(("number", "in", [5, 6])))
    assert [each.node_id for each in await store.aget_nodes()] == ["4", "6", "7"]
    assert [each.node_id for each in store.get_nodes(["7", "4"], filters(("number", ">=", 5)))] == ["7"]
    with pytest.raises(ValueError, match="name the nodes to delete; VecSec deletes no collection at one stroke"):
        store.delete_nodes()
    for clear in (store.clear, lambda: asyncio.run(store.aclear())):
        with pytest.raises(ValueError, match="deletes no collection at one stroke"):
            await asyncio.to_thread(clear)
    with pytest.raises(ValueError, match="must be a list, not the one text '4'"):
        store.delete_nodes("4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown argument where"):
        store.delete_nodes(["4"], where=1)
    assert len(store.get_nodes()) == 3


def test_more_nodes_than_one_search_finds(store: VecSecVectorStore) -> None:
    ids = [f"{number:04}" for number in range(1003)]
    store.add([TextNode(id_=each, text="x", metadata={"of": "all", "even": int(each) % 2 == 0}) for each in ids])
    assert [each.node_id for each in store.get_nodes(filters=filters(("of", "==", "all")))] == ids
    store.delete_nodes(filters=filters(("of", "in", ["all", "none"])))
    assert store.get_nodes() == []


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"x", datetime.now(UTC), [1, {2}], {1: "x"}],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_cannot_be_kept_is_named_and_nothing_is_stored(store: VecSecVectorStore, value: object) -> None:
    with pytest.raises(ValueError, match=r"node 'bad': metadata\['odd key'\].*(leave the key out|store it as a text)"):
        store.add([node("good"), node("bad", **{"odd key": value})])
    assert store.get_nodes(["good", "bad"]) == []


def test_nodes_that_cannot_be_kept_are_named(store: VecSecVectorStore) -> None:
    with pytest.raises(ValueError, match="node '1': a Document cannot be kept, only TextNode and IndexNode; split"):
        store.add([Document(id_="1", text="Long.")])
    with pytest.raises(ValueError, match="node '1': a ImageNode cannot be kept"):
        store.add([ImageNode(id_="1", text="A cat.", image_path="/etc/passwd")])
    with pytest.raises(ValueError, match="node '1': the object of an IndexNode cannot be kept; keep it in the app"):
        store.add([IndexNode(id_="1", text="Points.", index_id="x", obj=node("2", "Hidden."))])
    with pytest.raises(ValueError, match="nodes: must be nodes, not str"):
        store.add(["A passage."])  # type: ignore[list-item]
    with pytest.raises(DocumentsRejected) as refused:
        store.add([node("1"), node("2", "  ")])
    assert refused.value.rejected[0].document_id == "2"
    with pytest.raises(ValueError, match="unknown argument batch"):
        store.add([], batch=1)
    assert store.add([]) == []
    assert store.get_nodes() == []


def test_labels_come_from_metadata_or_else_from_the_store(client: VecSecClient, store: VecSecVectorStore) -> None:
    given = [node("1"), node("2", sensitivity="SECRET"), node("3", topics=["marketing", "rag"], kind="memo")]
    store.add(given)
    labels = [stored(client, store, each) for each in ("1", "2", "3")]
    assert [each.sensitivity for each in labels] == [Sensitivity.INTERNAL, Sensitivity.SECRET, Sensitivity.INTERNAL]
    assert [set(each.topics) for each in labels] == [{"rag"}, {"rag"}, {"marketing", "rag"}]
    assert store.get_nodes(["1", "2", "3"]) == given
    store.add(store.get_nodes(["1", "2", "3"]))
    assert [stored(client, store, each) for each in ("1", "2", "3")] == labels
    with pytest.raises(ValueError, match="node '4': sensitivity: 'publik' is unknown"):
        store.add([node("4", sensitivity="publik")])


def test_a_node_without_a_label_is_refused(make_store: MakeStore) -> None:
    store = make_store(sensitivity=None, topics=())
    with pytest.raises(ValueError, match=r"node '1': a document without sensitivity: give the store sensitivity="):
        store.add([node("1")])


def test_what_the_json_of_a_row_says_of_its_label_and_kind_is_nobodys_word(
    client: VecSecClient, store: VecSecVectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write a row may write anything there: readers get text, of that row, with the row's own label."""
    forged = json.loads(TextNode(id_="other", text="Other.", metadata={"sensitivity": "PUBLIC", "n": 1}).to_json())
    pointer = json.loads(IndexNode(id_="other", text="", index_id="i", obj=node("o", "Hidden.")).to_json())
    image = json.loads(ImageNode(id_="other", text="", image_path="/etc/passwd").to_json())
    contents = {
        "1": ("TextNode", json.dumps(forged)),
        "2": ("TextNode", "{"),
        "3": ("TextNode", "[1]"),
        "4": ("ImageNode", json.dumps(image)),
        "5": ("IndexNode", json.dumps(pointer)),
        "6": ("TextNode", "[" * 100_000),
    }
    rows = [
        DocumentInput(
            document_id=key,
            text=f"Text {key}.",
            metadata={"llama_index.node_type": kind, **in_parts("llama_index.node_content", content)},
            **DEFAULTS,
        )
        for key, (kind, content) in contents.items()
    ]
    store._clients.carry_out(store._collection.store(rows))
    with caplog.at_level(logging.WARNING, "llama_index.vector_stores.vecsec"):
        found = store.get_nodes([*contents])
    assert [(each.node_id, each.get_content()) for each in found] == [(key, f"Text {key}.") for key in contents]
    assert [each.metadata for each in found] == [{"n": 1}, {}, {}, {}, {}, {}]
    assert [type(each) for each in found] == [TextNode, TextNode, TextNode, TextNode, IndexNode, TextNode]
    assert found[4].obj is None  # type: ignore[attr-defined]
    assert caplog.text.count("taken for plain text: row") == 3


def test_a_neighbour_with_another_label_is_named_and_no_more(client: VecSecClient, store: VecSecVectorStore) -> None:
    """Its metadata and its hash are not for the readers of this row."""
    secret = RelatedNodeInfo(node_id="2", metadata={"sensitivity": "SECRET", "summary": "They merge."}, hash="h")
    alike = RelatedNodeInfo(node_id="3", metadata={"sensitivity": "PUBLIC", "summary": "Open."}, hash="h")
    given = node("1", sensitivity="PUBLIC")
    given.relationships = {
        NodeRelationship.NEXT: secret,
        NodeRelationship.PREVIOUS: alike,
        NodeRelationship.CHILD: [secret],
    }
    store.add([given])
    relationships = store.get_nodes(["1"])[0].relationships
    bare = RelatedNodeInfo(node_id="2")
    assert relationships[NodeRelationship.NEXT] == bare
    assert relationships[NodeRelationship.CHILD] == [bare]
    assert relationships[NodeRelationship.PREVIOUS] == alike
    store.add(store.get_nodes(["1"]))
    assert store.get_nodes(["1"])[0].relationships == relationships
    assert "merge" not in str(stored(client, store, "1"))


@pytest.mark.parametrize("k", [0, -1, 1001, True, 2.5, "3", None])
async def test_a_number_of_nodes_that_nobody_can_have_is_refused(store: VecSecVectorStore, k: Any) -> None:
    with pytest.raises(ValueError, match=r"^similarity_top_k: must be 1 to 1,000, not "):
        store.query(asked(k=k))
    with pytest.raises(ValueError, match=r"^similarity_top_k: must be"):
        await store.aquery(asked(k=k))


@pytest.mark.parametrize("mode", [each for each in VectorStoreQueryMode if each is not VectorStoreQueryMode.DEFAULT])
def test_modes_that_cannot_be_served_are_named(store: VecSecVectorStore, mode: VectorStoreQueryMode) -> None:
    with pytest.raises(ValueError, match=f"mode: {mode.value} cannot be served, only default"):
        store.query(asked(mode=mode))
    retriever = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=1)).as_retriever(
        vector_store_query_mode=mode
    )
    with pytest.raises(ValueError, match=f"mode: {mode.value} cannot be served"):
        retriever.retrieve("what?")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"alpha": 0.5}, "alpha: belongs to modes"),
        ({"node_ids": ["1"]}, "node_ids: a search cannot be held to nodes"),
        ({"doc_ids": []}, "doc_ids of 'ref_doc_id' takes a list of at least one"),
        ({"query_str": None, "query_embedding": [1.0]}, "query_str: is missing, and this store has the services embed"),
        ({"filters": MetadataFilters(filters=[])}, "an empty list says nothing"),
        ({"filters": filters(("n", "!=", 1))}, "!= of 'n' cannot be said"),
        ({"filters": {"n": 1}}, "must be MetadataFilters, not dict"),
    ],
)
def test_what_a_query_cannot_say_is_refused_and_widens_nothing(
    store: VecSecVectorStore, more: dict[str, Any], message: str
) -> None:
    store.add([node("1", n=1)])
    query = asked()
    for name, value in more.items():
        setattr(query, name, value)
    with pytest.raises(ValueError, match=message):
        store.query(query)
    with pytest.raises(ValueError, match="unknown argument filter"):
        store.query(asked(), filter={"n": 1})


def test_a_misspelt_key_is_named(store: VecSecVectorStore) -> None:
    store.add([node("1", year=2020)])
    for ask in (lambda wrong: store.query(asked(filters=wrong)), lambda wrong: store.delete_nodes(filters=wrong)):
        with pytest.raises(InvalidArgument, match="no document that you may read has the metadata key 'yaer'"):
            ask(filters(("yaer", "==", 2020)))
    assert len(store.get_nodes()) == 1


class Letters(BaseEmbedding):
    """Embeds by counting letters."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(text.count(letter) + 1) for letter in "aeiou"]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


async def test_an_index_may_embed_here(make_store: MakeStore) -> None:
    store = make_store(embeds_here=True)
    texts = ["aaaa", "eeee", "iiii"]
    index = VectorStoreIndex(
        [node(each, each) for each in texts],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=Letters(),
    )
    for each in texts:
        assert index.as_retriever(similarity_top_k=1).retrieve(each)[0].node_id == each
        assert (await index.as_retriever(similarity_top_k=1).aretrieve(each))[0].node_id == each
    with pytest.raises(
        ValueError, match="node '4': no embedding; embed the nodes, or make the store without embeds_here"
    ):
        store.add([node("4")])
    with pytest.raises(ValueError, match="query_embedding: is missing, and this store embeds here"):
        store.query(asked())
    store.delete("nobody's")


SECRET_NOTE, OPEN_NOTE = "The merger closes in May.", "Ranking is done by cosine."
READS = {"guest": {OPEN_NOTE}, "admin": {OPEN_NOTE, SECRET_NOTE}}


def token_of(stack: Stack, role: str) -> str:
    return stack.issuer.token("tenant_a", role, {"guest": "PUBLIC", "analyst": "INTERNAL"}.get(role, "SECRET"), role)


async def test_each_view_is_answered_for_its_own_caller(stack: Stack, make_store: MakeStore) -> None:
    store = make_store(sensitivity="PUBLIC")
    store.add([node("s", SECRET_NOTE, sensitivity="SECRET"), node("o", OPEN_NOTE)])

    async def asks(role: str) -> None:
        for _ in range(10):
            index = VectorStoreIndex.from_vector_store(
                store.with_token(SecretStr(token_of(stack, role))), embed_model=MockEmbedding(embed_dim=1)
            )
            retriever = index.as_retriever(similarity_top_k=10)
            for found in (await retriever.aretrieve("what?"), await asyncio.to_thread(retriever.retrieve, "what?")):
                assert {each.get_content() for each in found} == READS[role]
        view = store.with_token(lambda: token_of(stack, role))
        assert {each.get_content() for each in view.get_nodes()} == READS[role]
        assert len(await view.aget_nodes(["s", "o"])) == len(READS[role])

    await asyncio.gather(*(asks(role) for role in READS for _ in range(2)))


async def test_nobody_is_answered_with_nothing(stack: Stack, make_store: MakeStore) -> None:
    address = f"localhost:{stack.gateway_service.port}"
    with VecSecClient(address, token=None, default_tenant="tenant_a") as lending:
        store = VecSecVectorStore(lending, collection="notes", **DEFAULTS)
        retriever = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=1)).as_retriever()
        with pytest.raises(Unauthenticated, match="with_token"):
            retriever.retrieve("what?")
        with pytest.raises(Unauthenticated, match="with_token"):
            await retriever.aretrieve("what?")
        for nothing in (None, "", "  ", SecretStr(""), 7, b"token"):
            with pytest.raises(Unauthenticated, match="no identity: token is"):
                store.with_token(nothing)  # type: ignore[arg-type]
        with pytest.raises(PermissionDenied):
            store.with_token(token_of(stack, "guest"), tenant="tenant_b").query(asked())
    told = make_store().with_token("a.secret.token")
    assert "a.secret.token" not in repr(told) + str(told.to_dict()) + str(told.model_dump())


def test_who_may_not_delete_is_told_and_what_stays_is_named(
    client: VecSecClient, stack: Stack, store: VecSecVectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    part = node("1", sensitivity="PUBLIC")
    part.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="source")
    store.add([part])
    with pytest.raises(PermissionDenied):
        store.with_token(token_of(stack, "guest")).delete("source")
    steps = store._delete_rows([stored(client, store, "1")], "document 'source'")
    assert next(steps).method == "delete_documents"
    with caplog.at_level(logging.WARNING, "llama_index.vector_stores.vecsec"), pytest.raises(StopIteration):
        steps.send(DeleteResult(deleted_count=0))
    assert "document 'source': of 1 nodes 0 were deleted" in caplog.text


def test_a_collection_that_is_not_there_is_empty_and_said_so(
    store: VecSecVectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "llama_index.vector_stores.vecsec"):
        assert store.query(asked()).nodes == []
        assert store.get_nodes() == []
        assert store.get_nodes(filters=filters(("a", "==", 1))) == []
    assert f"taken for empty: no collection '{store._collection.name}'" in caplog.text


@pytest.fixture
def flag_off(stack: Stack) -> Iterator[None]:
    def switch(variant: str) -> None:
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant}
        stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

    switch("off")
    yield
    switch("on")


@pytest.mark.usefixtures("flag_off")
async def test_made_up_rows_come_to_those_alone_who_asked_for_them(make_store: MakeStore) -> None:
    careless, asking = make_store(), make_store(allow_mock=True)

    def is_off() -> bool:
        try:
            careless.query(asked())
        except Unavailable:
            return True
        return False

    await until(is_off)
    with pytest.raises(Unavailable):
        await careless.aquery(asked())
    made_up = asking.query(asked()).nodes
    assert made_up
    assert {each.metadata[MADE_UP_KEY] for each in made_up} == {"MOCK_REASON_FLAG_OFF"}
    with pytest.raises(ValueError, match="is made up"):
        asking.add(list(made_up))
