"""LangChain's own suites, against real services."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from support.stack import Stack

from langchain_vecsec import VecSecRetriever, VecSecVectorStore
from vecsec_client import AsyncVecSecClient, VecSecClient

MakeStore = Callable[..., VecSecVectorStore]


@pytest.fixture
def make_store(stack: Stack) -> Iterator[MakeStore]:
    """Makes a store with a collection of its own; its asynchronous methods use a client of asyncio's, or threads."""
    address = f"localhost:{stack.gateway_service.port}"
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    with VecSecClient(address, token=token, default_tenant="tenant_a") as client:
        asynchronous = AsyncVecSecClient(address, token=token, default_tenant="tenant_a")

        def make(embedding: Embeddings | None, *, in_threads: bool) -> VecSecVectorStore:
            return VecSecVectorStore(
                client,
                async_client=None if in_threads else asynchronous,
                embedding=embedding,
                collection=f"collection-{uuid.uuid4().hex}",
                sensitivity="INTERNAL",
                topics=["rag"],
            )

        yield make


class TestVectorStore(VectorStoreIntegrationTests):
    """With embeddings that are made here, and a client of asyncio's."""

    @pytest.fixture
    def vectorstore(self, make_store: MakeStore) -> VectorStore:  # type: ignore[override]
        return make_store(self.get_embeddings(), in_threads=False)


class TestVectorStoreOfTheServicesModel(VectorStoreIntegrationTests):
    """With embeddings that the services make, and one client for both kinds of code."""

    @pytest.fixture
    def vectorstore(self, make_store: MakeStore) -> VectorStore:  # type: ignore[override]
        return make_store(None, in_threads=True)


class TestRetriever(RetrieversIntegrationTests):
    """With a token of its own, for the suite's runs have no configuration."""

    @pytest.fixture(autouse=True)
    def passages(self, make_store: MakeStore, stack: Stack) -> None:
        self.store = make_store(None, in_threads=False)
        self.store.add_texts([f"Passage {number} about ranking." for number in range(5)])
        self.token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return VecSecRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store, "token": self.token}

    @property
    def retriever_query_example(self) -> str:
        return "how do we rank?"
