"""Haystack's own tests of document stores, against real services."""

import copy
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from haystack.dataclasses import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountDocumentsTest,
    DeleteByFilterTest,
    DeleteDocumentsTest,
    FilterDocumentsTest,
    WriteDocumentsTest,
    create_filterable_docs,
)
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
)
from haystack.utils import Secret
from support.stack import Stack

from haystack_integrations.document_stores.vecsec import VecSecDocumentStore


@pytest.fixture(scope="module")
def connected(stack: Stack) -> Iterator[VecSecDocumentStore]:
    store = VecSecDocumentStore(
        f"localhost:{stack.gateway_service.port}",
        token=Secret.from_token(stack.issuer.token("tenant_a", "admin", "SECRET", "root")),
        tenant="tenant_a",
        sensitivity="INTERNAL",
        topics=["rag"],
    )
    yield store
    store.close()


@pytest.fixture
def document_store(connected: VecSecDocumentStore) -> VecSecDocumentStore:
    """The same connection with a collection of its own."""
    store = copy.copy(connected)
    store._collection = replace(store._collection, name=f"collection-{uuid.uuid4().hex}")
    return store


class Compared:
    """Documents come in the order of their ids and without embeddings, which the services show to few."""

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        wanted = [replace(each, embedding=None) for each in expected]
        assert received == sorted(wanted, key=lambda each: each.id)

    @pytest.fixture
    def filterable_docs(self) -> list[Document]:
        """Those of the suite; a collection's embeddings are of one model, so all are left to the services."""
        return [replace(each, embedding=None) for each in create_filterable_docs()]


class TestDocumentStore(
    Compared,
    CountDocumentsTest,
    WriteDocumentsTest,
    DeleteDocumentsTest,
    FilterDocumentsTest,
    DeleteByFilterTest,
    CountDocumentsByFilterTest,
):
    def test_write_documents(self, document_store: VecSecDocumentStore) -> None:
        """Without a policy an id that is there is an error, as in Haystack's own store."""
        documents = [Document(content="test doc")]
        assert document_store.write_documents(documents) == 1
        with pytest.raises(DuplicateDocumentError, match="there already; write with DuplicatePolicy"):
            document_store.write_documents([Document(content="another"), *documents])
        self.assert_documents_are_equal(document_store.filter_documents(), documents)


class TestDocumentStoreAsync(
    Compared,
    CountDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    DeleteByFilterAsyncTest,
    CountDocumentsByFilterAsyncTest,
):
    async def test_write_documents_async(self, document_store: VecSecDocumentStore) -> None:
        documents = [Document(content="test doc")]
        assert await document_store.write_documents_async(documents) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async(documents)
        self.assert_documents_are_equal(await document_store.filter_documents_async(), documents)


def test_no_test_of_these_classes_is_left_out() -> None:
    """A suite that a later Haystack adds to what stores have to do is noticed."""
    from haystack.testing import document_store as suites

    ours = {each for each in dir(TestDocumentStore) if each.startswith("test_")}
    assert {each for each in dir(suites.DocumentStoreBaseTests) if each.startswith("test_")} <= ours
