"""What retrievers have in common: who asks, and what holds for the run."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Self

from haystack import default_from_dict, default_to_dict
from haystack.utils import Secret

from haystack_integrations.document_stores.vecsec import VecSecDocumentStore
from vecsec_client import Unauthenticated
from vecsec_client.frameworks.values import row_count


class Own(Enum):
    """What a run does not say is the retriever's own. None would not do: it is what a request without a session has."""

    TOKEN = "the retriever's own"  # noqa: S105 (no token)


class Retrieving:
    """A store, and what of a search does not come with the run."""

    def __init__(
        self,
        document_store: VecSecDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        token: Secret | None = None,
        tenant: str | None = None,
    ) -> None:
        """Prepare it; nothing is called.

        Args:
            document_store: what is searched. Its own token is never used.
            filters: hold for every run, beside those of the run.
            top_k: how many documents, 1 to 1,000, unless the run says otherwise.
            token: the caller's of runs that name none: for programs that have one user.
            tenant: the tenant of runs that name none; None for the store's.

        Raises:
            ValueError: for what is no store of VecSec, or another number.
        """
        if not isinstance(document_store, VecSecDocumentStore):
            raise ValueError(f"document_store: must be a VecSecDocumentStore, not {type(document_store).__name__}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = row_count("top_k", top_k)
        self.token = token
        self.tenant = tenant

    def to_dict(self) -> dict[str, Any]:
        """The retriever as Haystack writes it down.

        Raises:
            ValueError: for a token that is no variable of the environment.
        """
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            token=None if self.token is None else self.token.to_dict(),
            tenant=self.tenant,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The retriever that was written down."""
        given = dict(data["init_parameters"])
        if isinstance(given["document_store"], dict):
            given["document_store"] = VecSecDocumentStore.from_dict(given["document_store"])
        if isinstance(given.get("token"), dict):
            given["token"] = Secret.from_dict(given["token"])
        return default_from_dict(cls, {**data, "init_parameters": given})

    def _store_of(self, token: object, tenant: str | None) -> VecSecDocumentStore:
        """The store as the run's caller may use it.

        Raises:
            Unauthenticated: if nobody is named.
        """
        chosen: Any = self.token if token is Own.TOKEN else token
        if token is Own.TOKEN and chosen is None:
            raise Unauthenticated(
                "no identity: run with token=Secret.from_token(TOKEN), or make the retriever with token=... if all who "
                "use it are one caller"
            )
        return self.document_store.with_token(chosen, tenant=self.tenant if tenant is None else tenant)

    def _question(self, filters: Mapping[str, Any] | None, top_k: int | None) -> tuple[Mapping[str, Any] | None, int]:
        """Filters of the retriever and of the run, which hold both, and how many documents."""
        count = self.top_k if top_k is None else top_k
        given = [each for each in (self.filters, filters) if each]
        return {"operator": "AND", "conditions": given} if len(given) > 1 else next(iter(given), None), count
