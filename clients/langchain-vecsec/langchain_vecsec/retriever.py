"""The retriever: one for all users of a server, each answered with what that user may read."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ConfigDict, Field

from langchain_vecsec.identity import Caller, Token, caller_of
from langchain_vecsec.searching import SearchableStore


class VecSecRetriever(VectorStoreRetriever):
    """Finds documents in the name of who is named by the run's configuration.

        retriever = store.as_retriever(k=3)
        retriever.invoke("how do we rank?", config={"configurable": {"vecsec_token": token_of_the_user}})

    The token of the store's client is never used. Without a token in the configuration, and without `token`, a run is
    an error (`Unauthenticated`), and so is one whose configuration has an empty one.

    Raises what `VecSecVectorStore` raises.
    """

    vectorstore: SearchableStore
    """What is searched."""
    k: int = 4
    """How many documents, 1 to 1,000, unless `search_kwargs` or the call say otherwise."""
    token: Token | None = Field(default=None, repr=False, exclude=True)
    """The caller's of runs whose configuration names none: for programs that have one user."""
    tenant: str | None = None
    """The tenant of runs whose configuration names none; None for the store's."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # a misspelt filter would widen the answer

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """The documents for a query; `kwargs` are those of the store's search, such as `k` and `filter`."""
        return super().invoke(input, config, caller=self._caller(config), **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """See `invoke`."""
        return await super().ainvoke(input, config, caller=self._caller(config), **kwargs)

    def _caller(self, config: RunnableConfig | None) -> Caller:
        return caller_of(ensure_config(config).get("configurable", {}), self.token, self.tenant)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, caller: Caller | None = None, **kwargs: Any
    ) -> list[Document]:
        store = self._store_of(caller)
        return store.search(query, self.search_type, **self._arguments(kwargs))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        caller: Caller | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        store = self._store_of(caller)
        return await store.asearch(query, self.search_type, **self._arguments(kwargs))

    def _store_of(self, caller: Caller | None) -> SearchableStore:
        known = self._caller(None) if caller is None else caller  # None from whoever calls past `invoke`
        return self.vectorstore.with_token(known.token, tenant=known.tenant)

    def _arguments(self, of_the_call: dict[str, Any]) -> dict[str, Any]:
        return {"k": self.k} | self.search_kwargs | of_the_call
