"""What Haystack's store keeps, refuses and gives back, and to whom, against real services."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from haystack import Pipeline, tracing
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.core.errors import PipelineRuntimeError
from haystack.dataclasses import ByteStream, Document, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.utils import Secret
from pydantic import SecretStr
from support.stack import Stack
from support.waiting import until

from haystack_integrations.components.retrievers.vecsec import VecSecEmbeddingRetriever, VecSecTextRetriever
from haystack_integrations.document_stores.vecsec import MADE_UP_KEY, LabelKeys, VecSecDocumentStore
from vecsec_client import (
    DocumentInput,
    DocumentsRejected,
    InvalidArgument,
    PermissionDenied,
    Sensitivity,
    Unauthenticated,
    Unavailable,
)
from vecsec_client.frameworks.values import in_parts

MakeStore = Callable[..., VecSecDocumentStore]
SECRET_NOTE, OPEN_NOTE = "The merger closes in May.", "Ranking is done by cosine."
READS = {"guest": {OPEN_NOTE}, "admin": {OPEN_NOTE, SECRET_NOTE}}


@pytest.fixture(scope="module")
def make_store(stack: Stack) -> Iterator[MakeStore]:
    made = []

    def make(**settings: Any) -> VecSecDocumentStore:
        given = {
            "token": token_of(stack, "admin"),
            "tenant": "tenant_a",
            "collection": f"collection-{uuid4().hex}",
            "sensitivity": "INTERNAL",
            "topics": ["rag"],
            **settings,
        }
        made.append(VecSecDocumentStore(f"localhost:{stack.gateway_service.port}", **given))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> VecSecDocumentStore:
    return make_store()


@pytest.fixture(scope="module")
def notes(make_store: MakeStore) -> VecSecDocumentStore:
    store = make_store(sensitivity="PUBLIC")
    store.write_documents([Document(content=SECRET_NOTE, meta={"sensitivity": "SECRET"}), Document(content=OPEN_NOTE)])
    return store


def token_of(stack: Stack, role: str, tenant: str = "tenant_a") -> Secret:
    return Secret.from_token(stack.issuer.token(tenant, role, "PUBLIC" if role == "guest" else "SECRET", role))


def texts(found: dict[str, Any]) -> set[str | None]:
    return {each.content for each in found["documents"]}


def stored(store: VecSecDocumentStore, document_id: str) -> Any:
    (row,) = store._clients.carry_out(store._collection.read([document_id]))
    return row


META: dict[str, Any] = {
    "text": "Zeile eins\nZeile zwei \U0001f980 \t",
    "empty": "",
    "whole": 2**63 - 1,
    "number": 0.1,
    "round": 1.0,
    "yes": True,
    "null": None,
    "list": [1, "two", None, {"deep": [3.5]}],
    "odd key": "x",
    "_split_overlap": [{"doc_id": "1", "range": [0, 9]}],
    "haystack.meta": "mine",
    "haystack.meta.1": "mine",
    "long": "\U0001f980 long " * 2000,
    "huge": 2**70,
}


async def test_documents_come_back_as_they_were(store: VecSecDocumentStore) -> None:
    given = Document(id="1", content="A passage.", meta=META)
    store.write_documents([given])
    retriever = VecSecTextRetriever(store, token=store._token)
    for found in (
        store.filter_documents(),
        await store.filter_documents_async({"field": "meta.whole", "operator": "==", "value": 2**63 - 1}),
        store.filter_documents({"field": "meta.list", "operator": "!=", "value": None}),
        store.filter_documents({"field": "meta.odd key", "operator": "==", "value": "x"}),
        store.filter_documents({"field": "meta.nobodys", "operator": "==", "value": None}),
        [replace(each, score=None) for each in retriever.run("passage")["documents"]],
    ):
        assert found == [given]
        assert {key: type(value) for key, value in found[0].meta.items()} == {key: type(META[key]) for key in META}
    flat = {key for key in stored(store, "1").metadata if not key.startswith("haystack.meta")}
    assert flat == {"text", "empty", "whole", "number", "round", "yes"}
    again = replace(retriever.run("passage")["documents"][0], content="Another.")
    assert await store.write_documents_async([again], DuplicatePolicy.OVERWRITE) == 1
    assert store.filter_documents() == [replace(given, content="Another.")]


def test_what_a_splitter_makes_is_written_by_a_pipeline(store: VecSecDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("splitter", DocumentSplitter(split_by="word", split_length=8, split_overlap=2))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("splitter", "writer")
    text = " ".join(f"word{number}" for number in range(30))
    written = pipeline.run({"splitter": {"documents": [Document(id="whole", content=text, meta={"name": "n"})]}})
    documents = store.filter_documents({"field": "meta.source_id", "operator": "==", "value": "whole"})
    assert len(documents) == written["writer"]["documents_written"] == store.count_documents() > 3
    assert all(each.meta["_split_overlap"] for each in documents)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"x", datetime.now(UTC), [1, {2}], {1: "x"}],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_cannot_be_kept_is_named_and_nothing_is_stored(store: VecSecDocumentStore, value: object) -> None:
    documents = [Document(content="Good."), Document(id="bad", content="Bad.", meta={"odd key": value})]
    with pytest.raises(
        ValueError, match=r"document 'bad': metadata\['odd key'\].*(leave the key out|store it as a text)"
    ):
        store.write_documents(documents)
    assert store.count_documents() == 0


def test_documents_that_cannot_be_kept_are_named(store: VecSecDocumentStore) -> None:
    for wrong, message in (
        (Document(id="1"), "document '1': no content; VecSec stores texts"),
        (Document(id="1", content="a", blob=ByteStream(b"a")), "document '1': blob: cannot be kept; leave it out"),
        (
            Document(id="1", content="a", sparse_embedding=SparseEmbedding([1], [0.5])),
            "document '1': sparse_embedding: cannot be kept",
        ),
        (
            Document(id="1", content="a", meta={"sensitivity": "publik"}),
            "document '1': sensitivity: 'publik' is unknown",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            store.write_documents([Document(content="Good."), wrong])
    with pytest.raises(DocumentsRejected) as refused:
        store.write_documents([Document(id="2", content="  ")])
    assert refused.value.rejected[0].document_id == "2"
    assert store.count_documents() == 0


def test_labels_come_from_metadata_or_else_from_the_store(store: VecSecDocumentStore) -> None:
    given = [
        Document(id="1", content="One."),
        Document(id="2", content="Two.", meta={"sensitivity": "SECRET"}),
        Document(id="3", content="Three.", meta={"topics": ["marketing", "rag"], "kind": "memo"}),
    ]
    store.write_documents(given)
    labels = [stored(store, each.id) for each in given]
    assert [each.sensitivity for each in labels] == [Sensitivity.INTERNAL, Sensitivity.SECRET, Sensitivity.INTERNAL]
    assert [set(each.topics) for each in labels] == [{"rag"}, {"rag"}, {"marketing", "rag"}]
    assert store.filter_documents() == given
    store.write_documents(store.filter_documents(), DuplicatePolicy.OVERWRITE)
    assert [stored(store, each.id) for each in given] == labels


def test_what_the_json_of_a_row_says_of_its_label_is_nobodys_word(
    store: VecSecDocumentStore, caplog: pytest.LogCaptureFixture
) -> None:
    contents = {"1": '{"sensitivity": "PUBLIC", "kind": "forged", "n": null}', "2": "{", "3": "[1]", "4": "[" * 100_000}
    rows = [
        DocumentInput(
            document_id=key,
            text="Text.",
            sensitivity="INTERNAL",
            topics=["rag"],
            metadata={**in_parts("haystack.meta", content), "kind": "memo"},
        )
        for key, content in contents.items()
    ]
    store._clients.carry_out(store._collection.store(rows))
    with caplog.at_level(logging.WARNING, "haystack_integrations.document_stores.vecsec"):
        found = store.filter_documents()
    assert [each.meta for each in found] == [{"n": None, "kind": "memo"}, *([{"kind": "memo"}] * 3)]
    assert caplog.text.count("its haystack.meta is no JSON of a dictionary") == 3


def test_ids_that_are_there_or_come_twice(store: VecSecDocumentStore) -> None:
    one, other = Document(id="1", content="One."), Document(id="1", content="Other.")
    for policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL):
        with pytest.raises(DuplicateDocumentError, match=r"^'1': there already"):
            store.write_documents([one, other], policy)
    assert store.count_documents() == 0
    assert store.write_documents([one, other], DuplicatePolicy.SKIP) == 1
    assert store.filter_documents() == [one]
    assert store.write_documents([one, other], DuplicatePolicy.OVERWRITE) == 2
    assert store.filter_documents() == [other]
    many = [Document(content=f"Text {number}.") for number in range(5)]
    store.write_documents(many)
    with pytest.raises(DuplicateDocumentError, match="and 2 more: there already"):
        store.write_documents(many)


def test_nothing_deletes_a_collection_at_one_stroke(store: VecSecDocumentStore) -> None:
    store.write_documents([Document(content="One.")])
    for nothing in (None, {}):
        with pytest.raises(ValueError, match="VecSec deletes no collection at one stroke"):
            store.delete_by_filter(nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be a list, not the one text"):
        store.delete_documents("1")  # type: ignore[arg-type]
    assert store.count_documents() == 1


def test_documents_may_be_embedded_here(make_store: MakeStore, stack: Stack) -> None:
    store = make_store()
    vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.1, 0.0]]
    store.write_documents([Document(id=str(at), content="Same.", embedding=each) for at, each in enumerate(vectors)])
    retriever = VecSecEmbeddingRetriever(store, token=token_of(stack, "admin"))
    found = retriever.run(vectors[0])["documents"]
    assert [each.id for each in found] == ["0", "1", "2"]
    assert [each.score for each in found] == pytest.approx([1.0, 0.0, -1.0], abs=0.01)
    found = asyncio.run(retriever.run_async(vectors[1], top_k=1))["documents"]
    assert [each.id for each in found] == ["1"]
    with pytest.raises(InvalidArgument):
        retriever.run([1.0, 0.0])


async def test_each_run_is_answered_for_its_own_caller(stack: Stack, notes: VecSecDocumentStore) -> None:
    retriever = VecSecTextRetriever(document_store=notes)
    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)

    async def runs(role: str) -> None:
        asked = {"retriever": {"query": "what?", "token": token_of(stack, role)}}
        for _ in range(10):
            assert texts((await asyncio.to_thread(pipeline.run, asked))["retriever"]) == READS[role]
            assert texts((await pipeline.run_async(asked))["retriever"]) == READS[role]
        told = await VecSecTextRetriever(notes).run_async("what?", token=lambda: token_of(stack, role).resolve_value())
        assert texts(told) == READS[role]

    await asyncio.gather(*(runs(role) for role in READS for _ in range(2)))


async def test_nobody_is_answered_with_nothing(
    stack: Stack, notes: VecSecDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own token may read everything, and is not used."""
    shared = VecSecTextRetriever(document_store=notes, token=token_of(stack, "admin"))
    assert texts(shared.run("what?")) == READS["admin"]
    monkeypatch.setenv("EMPTY_TOKEN", " ")
    with pytest.raises(Unauthenticated, match=r"no identity: run with token=Secret.from_token\(TOKEN\)"):
        VecSecTextRetriever(document_store=notes).run("what?")
    for retriever in (shared, VecSecTextRetriever(document_store=notes)):
        for nothing in (None, "", 7, SecretStr(""), Secret.from_env_var("EMPTY_TOKEN"), Secret.from_env_var("NO_SUCH")):
            with pytest.raises(Unauthenticated, match="no identity: "):
                retriever.run("what?", token=nothing)
            with pytest.raises(Unauthenticated, match="no identity: "):
                await retriever.run_async("what?", token=nothing)
    with pytest.raises(Unauthenticated, match=r"token is a text; give Secret\.from_token") as refused:
        shared.run("what?", token="a.plain.text")
    assert "a.plain.text" not in str(refused.value)
    with pytest.raises(PermissionDenied):
        shared.run("what?", token=token_of(stack, "guest"), tenant="tenant_b")
    assert texts(shared.run("what?", token=token_of(stack, "admin", "tenant_b"), tenant="tenant_b")) == set()


def test_a_store_may_lend_its_connection_alone(stack: Stack, make_store: MakeStore, notes: VecSecDocumentStore) -> None:
    lending = make_store(token=None, collection=notes._collection.name)
    with pytest.raises(Unauthenticated, match="with_token"):
        lending.filter_documents()
    view = lending.with_token(token_of(stack, "guest"))
    assert {each.content for each in view.filter_documents()} == READS["guest"]
    assert view.count_documents() == 1
    with pytest.raises(PermissionDenied):
        view.write_documents([Document(content="Not mine.")])
    assert view.to_dict()["init_parameters"]["token"] is None


class Recorder(tracing.Tracer):
    """Keeps what tracers get."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def trace(self, operation_name: str, tags: Any = None, parent_span: Any = None) -> Any:
        self.heard.append(f"{operation_name} {tags!r}")
        return nullcontext(RecordingSpan(self.heard))

    def current_span(self) -> None:
        return None


class RecordingSpan(tracing.Span):
    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def set_tag(self, key: str, value: Any) -> None:
        self.heard.append(f"{key} {value!r}")


def test_tracers_errors_and_what_is_written_down_have_no_token(
    stack: Stack, notes: VecSecDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, own, recorder = token_of(stack, "guest"), token_of(stack, "admin"), Recorder()
    monkeypatch.setattr(tracing.tracer, "is_content_tracing_enabled", True)
    monkeypatch.setattr(tracing.tracer, "actual_tracer", recorder)
    pipeline = Pipeline()
    pipeline.add_component("retriever", VecSecTextRetriever(document_store=notes, token=own))
    asked = {"retriever": {"query": "what?", "token": token}}
    pipeline.run(asked)
    with pytest.raises(PipelineRuntimeError) as failed:
        pipeline.run(
            {"retriever": {**asked["retriever"], "filters": {"field": "meta.n", "operator": "!=", "value": 1}}}
        )
    assert isinstance(failed.value.__cause__, FilterError)
    assert any("what?" in each for each in recorder.heard)
    told = [*recorder.heard, str(failed.value), str(vars(failed.value)), repr(notes), str(vars(notes))]
    assert not [each for each in told for secret in (token, own) if str(secret.resolve_value()) in each]
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        pipeline.dumps()


async def test_a_pipeline_is_written_down_and_read(
    stack: Stack, make_store: MakeStore, notes: VecSecDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECSEC_TOKEN", str(token_of(stack, "admin").resolve_value()))
    monkeypatch.setenv("THE_USERS", str(token_of(stack, "guest").resolve_value()))
    store = VecSecDocumentStore(
        f"localhost:{stack.gateway_service.port}",
        tenant="tenant_a",
        collection=notes._collection.name,
        sensitivity=Sensitivity.PUBLIC,
        topics=("rag",),
        readers=["user:alice"],
        label_keys=LabelKeys(sensitivity="level", attributes=None),
        tell_labels=True,
        timeout=7.5,
    )
    pipeline = Pipeline()
    own = Secret.from_env_var("THE_USERS")
    filters = {"field": "meta.kind", "operator": "==", "value": "memo"}
    pipeline.add_component(
        "retriever", VecSecTextRetriever(store, filters=filters, top_k=7, token=own, tenant="tenant_a")
    )
    pipeline.add_component("vectors", VecSecEmbeddingRetriever(store))
    pipeline.add_component("writer", DocumentWriter(store))
    written = pipeline.dumps()
    read = Pipeline.loads(written)
    assert read.dumps() == written
    retriever = read.get_component("retriever")
    assert (retriever.filters, retriever.top_k, retriever.token, retriever.tenant) == (filters, 7, own, "tenant_a")
    assert retriever.document_store._labelling == store._labelling
    assert read.get_component("writer").document_store.count_documents() == 2
    retriever.filters = None
    assert texts(retriever.run("what?")) == READS["guest"]
    await retriever.document_store.close_async()
    with pytest.raises(ValueError, match="document_store: must be a VecSecDocumentStore, not str"):
        VecSecTextRetriever("store")  # type: ignore[arg-type]


def test_filters_of_the_retriever_and_of_the_run_hold_both(stack: Stack, store: VecSecDocumentStore) -> None:
    store.write_documents(
        [Document(content=f"{kind} of {year}.", meta={"kind": kind, "year": year}) for kind in "ab" for year in (1, 2)]
    )
    kind = {"field": "meta.kind", "operator": "==", "value": "a"}
    year = {"operator": "OR", "conditions": [{"field": "meta.year", "operator": ">", "value": 1}]}
    retriever = VecSecTextRetriever(store, filters=kind, token=token_of(stack, "admin"))
    assert texts(retriever.run("what?")) == {"a of 1.", "a of 2."}
    assert texts(retriever.run("what?", filters=year)) == {"a of 2."}
    assert texts(retriever.run("what?", filters={})) == {"a of 1.", "a of 2."}
    both_kinds = {"field": "meta.kind", "operator": "in", "value": ["a", "b"]}
    assert texts(retriever.run("what?", filters=both_kinds)) == {"a of 1.", "a of 2."}


@pytest.mark.parametrize("k", [0, -1, 1001, True, 2.5, "3"])
async def test_a_number_of_documents_that_nobody_can_have_is_refused(
    stack: Stack, store: VecSecDocumentStore, k: Any
) -> None:
    retriever = VecSecTextRetriever(store, token=token_of(stack, "admin"))
    with pytest.raises(ValueError, match=r"^top_k: must be 1 to 1,000, not "):
        retriever.run("what?", top_k=k)
    with pytest.raises(ValueError, match=r"^top_k: must be"):
        await retriever.run_async("what?", top_k=k)
    with pytest.raises(ValueError, match=r"^top_k: must be"):
        VecSecTextRetriever(store, top_k=k)


def test_filters_that_cannot_be_said_are_refused_in_a_search(stack: Stack, store: VecSecDocumentStore) -> None:
    store.write_documents([Document(content="One.", meta={"n": 1})])
    retriever = VecSecTextRetriever(store, token=token_of(stack, "admin"))
    unlike = {"field": "meta.n", "operator": "!=", "value": 2}
    with pytest.raises(FilterError, match="!= cannot be said: VecSec knows positive conditions only"):
        retriever.run("what?", filters=unlike)
    assert len(store.filter_documents(unlike)) == 1
    with pytest.raises(InvalidArgument, match="no document that you may read has the metadata key 'm'"):
        retriever.run("what?", filters={"field": "meta.m", "operator": "==", "value": 2})
    about_labels = {
        "operator": "NOT",
        "conditions": [{"field": "meta.sensitivity", "operator": "==", "value": "PUBLIC"}],
    }
    for ask in (store.filter_documents, store.delete_by_filter):
        with pytest.raises(ValueError, match="'sensitivity' is the row's label, which no filter asks for"):
            ask(about_labels)


@pytest.fixture
def flag_off(stack: Stack) -> Iterator[None]:
    def switch(variant: str) -> None:
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant}
        stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

    switch("off")
    yield
    switch("on")


@pytest.mark.usefixtures("flag_off")
async def test_made_up_rows_come_to_those_alone_who_asked_for_them(stack: Stack, make_store: MakeStore) -> None:
    careless = VecSecTextRetriever(make_store(), token=token_of(stack, "admin"))
    asking = VecSecTextRetriever(make_store(allow_mock=True), token=token_of(stack, "admin"))

    def is_off() -> bool:
        try:
            careless.run("what?")
        except Unavailable:
            return True
        return False

    await until(is_off)
    with pytest.raises(Unavailable):
        await careless.run_async("what?")
    made_up = asking.run("what?")["documents"]
    assert made_up
    assert {each.meta[MADE_UP_KEY] for each in made_up} == {"MOCK_REASON_FLAG_OFF"}
    with pytest.raises(ValueError, match="is made up"):
        asking.document_store.write_documents(made_up)
