"""The retriever for a query that was embedded here, as the documents were."""

from typing import Any

from haystack import component
from haystack.dataclasses import Document

from haystack_integrations.components.retrievers.vecsec.retrieving import Own, Retrieving


@component
class VecSecEmbeddingRetriever(Retrieving):
    """Finds documents in the name of who is named by the run, for a query that was embedded as the documents were.

        retriever = VecSecEmbeddingRetriever(document_store=store, top_k=3)
        retriever.run(embedding, token=Secret.from_token(token_of_the_user))

    The token of the store is never used. A run without one, where the retriever has none of its own, is an error
    (`Unauthenticated`), and so is one whose token is None or empty.

    Raises what `VecSecDocumentStore` raises.
    """

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        token: Any = Own.TOKEN,
        tenant: str | None = None,
    ) -> dict[str, list[Document]]:
        """The nearest documents that the run's caller may read, with cosine similarities (-1 to 1) as scores.

        Args:
            query_embedding: a vector of the model with which the collection's documents were embedded.
            filters: a condition on metadata, beside the retriever's own.
            top_k: how many, 1 to 1,000.
            token: the caller's, as a `Secret` or a function that returns it.
            tenant: the tenant to search.

        Raises:
            Unauthenticated: without a token, or with an empty one.
            ValueError: for another number, or a filter that cannot be said.
            VecSecError: if the call failed; `Unavailable` while real retrieval is off.
        """
        wanted, count = self._question(filters, top_k)
        return {"documents": self._store_of(token, tenant).search(query_embedding, wanted, count)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        token: Any = Own.TOKEN,
        tenant: str | None = None,
    ) -> dict[str, list[Document]]:
        """See `run`."""
        wanted, count = self._question(filters, top_k)
        return {"documents": await self._store_of(token, tenant).search_async(query_embedding, wanted, count)}
