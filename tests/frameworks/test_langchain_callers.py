"""Who sees what through LangChain: each run by its configuration, never by what somebody else left behind."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from pydantic import SecretStr, ValidationError
from support.stack import Stack
from support.waiting import until

from langchain_vecsec import MADE_UP_KEY, VecSecRetriever, VecSecVectorStore
from vecsec_client import (
    AsyncVecSecClient,
    MockReason,
    PermissionDenied,
    RealRetrievalUnavailable,
    Unauthenticated,
    Unavailable,
    VecSecClient,
)

SECRET_NOTE, OPEN_NOTE = "The merger closes in May.", "Ranking is done by cosine."
READS = {"guest": {OPEN_NOTE}, "admin": {OPEN_NOTE, SECRET_NOTE}}
Token = Callable[..., str]


@pytest.fixture(scope="module")
def token_of(stack: Stack) -> Token:
    def token(role: str, tenant: str = "tenant_a") -> str:
        return stack.issuer.token(tenant, role, {"guest": "PUBLIC", "analyst": "INTERNAL"}.get(role, "SECRET"), role)

    return token


@pytest.fixture(scope="module")
def client(stack: Stack, token_of: Token) -> Iterator[VecSecClient]:
    """The server's own, whose token may read everything."""
    address = f"localhost:{stack.gateway_service.port}"
    with VecSecClient(address, token=token_of("admin"), default_tenant="tenant_a") as client:
        yield client


@pytest.fixture(scope="module")
def store(stack: Stack, client: VecSecClient, token_of: Token) -> VecSecVectorStore:
    asynchronous = AsyncVecSecClient(
        f"localhost:{stack.gateway_service.port}", token=token_of("admin"), default_tenant="tenant_a"
    )
    store = VecSecVectorStore(
        client,
        async_client=asynchronous,
        embedding=DeterministicFakeEmbedding(size=8),
        collection="notes",
        sensitivity="PUBLIC",
        topics=["rag"],
    )
    store.add_texts([SECRET_NOTE, OPEN_NOTE], [{"sensitivity": "SECRET"}, {}])
    return store


@pytest.fixture
def retriever(store: VecSecVectorStore) -> VecSecRetriever:
    return store.as_retriever(k=10)


def as_caller(token: object, **more: object) -> RunnableConfig:
    return {"configurable": {"vecsec_token": token, **more}}


def texts(documents: list[Document]) -> set[str]:
    return {document.page_content for document in documents}


async def test_each_run_is_answered_for_its_own_caller(retriever: VecSecRetriever, token_of: Token) -> None:
    async def runs(role: str) -> None:
        for _ in range(20):
            assert texts(await retriever.ainvoke("what?", as_caller(token_of(role)))) == READS[role]
            found = await asyncio.to_thread(retriever.invoke, "what?", as_caller(token_of(role)))
            assert texts(found) == READS[role]

    await asyncio.gather(*(runs(role) for role in READS for _ in range(2)))


def test_a_batch_may_have_a_caller_for_each_question(retriever: VecSecRetriever, token_of: Token) -> None:
    roles = ["guest", "admin", "guest", "admin"]
    answers = retriever.batch(["what?"] * 4, [as_caller(token_of(role)) for role in roles])
    assert [texts(answer) for answer in answers] == [READS[role] for role in roles]


def test_a_chain_hands_the_caller_down(retriever: VecSecRetriever, token_of: Token) -> None:
    chain = {"found": retriever, "question": RunnablePassthrough()} | RunnableLambda(
        lambda given: texts(given["found"])
    )
    within = RunnableLambda(lambda question: texts(retriever.invoke(question)))  # by the context that LangChain keeps
    for role, expected in READS.items():
        assert chain.invoke("what?", as_caller(token_of(role))) == expected
        assert within.invoke("what?", as_caller(token_of(role))) == expected
    with pytest.raises(Unauthenticated):
        chain.invoke("what?")


@pytest.mark.parametrize(
    "search",
    [
        {"search_type": "mmr", "search_kwargs": {"fetch_k": 10}},
        {"search_type": "similarity_score_threshold", "search_kwargs": {"score_threshold": 0.0}},
    ],
    ids=["mmr", "threshold"],
)
async def test_every_kind_of_search_is_the_callers(
    store: VecSecVectorStore, token_of: Token, search: dict[str, Any]
) -> None:
    retriever = store.as_retriever(k=10, **search)
    assert texts(retriever.invoke(SECRET_NOTE, as_caller(token_of("guest")))) <= READS["guest"]
    assert SECRET_NOTE in texts(retriever.invoke(SECRET_NOTE, as_caller(token_of("admin"))))
    assert texts(await retriever.ainvoke(SECRET_NOTE, as_caller(token_of("guest")))) <= READS["guest"]
    assert SECRET_NOTE in texts(await retriever.ainvoke(SECRET_NOTE, as_caller(token_of("admin"))))


@pytest.mark.parametrize(
    "config", [None, {}, {"configurable": {"user_id": "alice"}}, {"metadata": {"vecsec_token": "t"}}]
)
async def test_nobody_is_answered_with_nothing(retriever: VecSecRetriever, config: Any) -> None:
    """The token of the store's own client may read everything, and is not used."""
    with pytest.raises(Unauthenticated, match=r'no identity: call with config=\{"configurable": \{"vecsec_token"'):
        retriever.invoke("what?", config)
    with pytest.raises(Unauthenticated, match="no identity"):
        await retriever.ainvoke("what?", config)


@pytest.mark.parametrize("nothing", [None, "", "  ", SecretStr(""), 7, b"token", ["token"]])
async def test_an_empty_token_is_nobodys_and_never_the_retrievers_own(
    store: VecSecVectorStore, token_of: Token, nothing: object
) -> None:
    shared = store.as_retriever(k=10, token=token_of("admin"))
    assert texts(shared.invoke("what?")) == READS["admin"]
    for invoke in (shared.invoke, store.as_retriever().invoke):
        with pytest.raises(Unauthenticated, match="no identity: vecsec_token is"):
            invoke("what?", as_caller(nothing))
    with pytest.raises(Unauthenticated, match="no identity: vecsec_token is"):
        await shared.ainvoke("what?", as_caller(nothing))
    with pytest.raises(Unauthenticated, match="no identity: token is"):
        store.with_token(nothing)  # type: ignore[arg-type]


async def test_a_token_may_be_a_secret_or_come_from_a_function(retriever: VecSecRetriever, token_of: Token) -> None:
    async def later() -> str:
        return token_of("guest")

    for token in (SecretStr(token_of("guest")), lambda: token_of("guest")):
        assert texts(retriever.invoke("what?", as_caller(token))) == READS["guest"]
    assert texts(await retriever.ainvoke("what?", as_caller(later))) == READS["guest"]


def test_the_tenant_may_come_with_the_run(retriever: VecSecRetriever, token_of: Token) -> None:
    foreign = token_of("admin", "tenant_b")
    assert retriever.invoke("what?", as_caller(foreign, vecsec_tenant="tenant_b")) == []
    with pytest.raises(PermissionDenied):
        retriever.invoke("what?", as_caller(foreign))
    for nothing in ("", 7):
        with pytest.raises(ValueError, match="vecsec_tenant: must be a tenant's id"):
            retriever.invoke("what?", as_caller(foreign, vecsec_tenant=nothing))


class Recorder(BaseCallbackHandler):
    """Keeps what tracers get."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *arguments, **keywords: self.heard.append(f"{name} {arguments!r} {keywords!r}")
        return super().__getattribute__(name)


def test_tracers_get_no_token(store: VecSecVectorStore, token_of: Token) -> None:
    token, own, recorder = token_of("guest"), token_of("admin"), Recorder()
    retriever = store.as_retriever(k=10, token=own)
    chain = RunnablePassthrough() | retriever
    chain.invoke("what?", {"callbacks": [recorder], **as_caller(token)})
    chain.invoke("what?", {"callbacks": [recorder]})
    assert any("on_retriever_end" in each for each in recorder.heard)
    told = [*recorder.heard, repr(retriever), str(retriever.model_dump()), dumps(retriever), dumps(chain)]
    assert not [each for each in told if token in each or own in each]


def test_what_is_misspelt_is_refused_and_widens_nothing(
    store: VecSecVectorStore, retriever: VecSecRetriever, token_of: Token
) -> None:
    with pytest.raises(ValidationError, match="serch_kwargs"):
        store.as_retriever(serch_kwargs={"filter": {"kind": "memo"}})
    with pytest.raises(ValueError, match="unknown argument filters"):
        retriever.invoke("what?", as_caller(token_of("admin")), filters={"kind": "memo"})
    with pytest.raises(ValueError, match="unknown argument where"):
        store.similarity_search("what?", where={"kind": "memo"})
    with pytest.raises(ValueError, match="unknown argument score_threshold"):
        store.similarity_search("what?", score_threshold=0.9)


@pytest.fixture
def flag_off(stack: Stack) -> Iterator[None]:
    def switch(variant: str) -> None:
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant}
        stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

    switch("off")
    yield
    switch("on")


@pytest.mark.usefixtures("flag_off")
async def test_made_up_rows_come_to_those_alone_who_asked_for_them(client: VecSecClient, token_of: Token) -> None:
    careless = VecSecVectorStore(client, sensitivity="PUBLIC", topics=["rag"])
    asking = VecSecVectorStore(client, sensitivity="PUBLIC", topics=["rag"], allow_mock=True)

    def is_off() -> bool:
        try:
            careless.similarity_search("what?")
        except Unavailable:
            return True
        return False

    await until(is_off)
    for search in (careless.similarity_search, careless.max_marginal_relevance_search):
        with pytest.raises(RealRetrievalUnavailable) as refused:
            search("what?")
        assert refused.value.mock_reason is MockReason.FLAG_OFF
    with pytest.raises(Unavailable):
        await careless.as_retriever(token=token_of("guest")).ainvoke("what?")
    made_up = asking.similarity_search("what?")
    assert made_up
    assert {document.metadata[MADE_UP_KEY] for document in made_up} == {"MOCK_REASON_FLAG_OFF"}
    with pytest.raises(ValueError, match="is made up"):
        asking.add_documents([Document("Copied.", metadata=made_up[0].metadata)])
