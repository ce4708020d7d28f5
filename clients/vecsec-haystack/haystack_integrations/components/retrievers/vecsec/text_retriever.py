"""The retriever for a query that the services embed."""

from typing import Any

from haystack import component
from haystack.dataclasses import Document

from haystack_integrations.components.retrievers.vecsec.retrieving import Own, Retrieving


@component
class VecSecTextRetriever(Retrieving):
    """Finds documents in the name of who is named by the run, for a query that the services embed.

        retriever = VecSecTextRetriever(document_store=store, top_k=3)
        retriever.run("how do we rank?", token=Secret.from_token(token_of_the_user))

    The token of the store is never used. A run without one, where the retriever has none of its own, is an error
    (`Unauthenticated`), and so is one whose token is None or empty.

    Raises what `VecSecDocumentStore` raises.
    """

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        token: Any = Own.TOKEN,
        tenant: str | None = None,
    ) -> dict[str, list[Document]]:
        """The nearest documents that the run's caller may read, with cosine similarities (-1 to 1) as scores.

        Args:
            query: what to look for.
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
        return {"documents": self._store_of(token, tenant).search(query, wanted, count)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        token: Any = Own.TOKEN,
        tenant: str | None = None,
    ) -> dict[str, list[Document]]:
        """See `run`."""
        wanted, count = self._question(filters, top_k)
        return {"documents": await self._store_of(token, tenant).search_async(query, wanted, count)}
