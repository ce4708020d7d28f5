"""A collection as frameworks' stores use it: search, read, store, count and delete, as steps.

One that is not there is empty. Rows that the caller may not read are as if they were not there.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from vecsec_client.errors import InvalidArgument, Unavailable
from vecsec_client.filters import MetadataFilter
from vecsec_client.frameworks.absent import NOTHING_FOUND, AbsentCollection
from vecsec_client.frameworks.conditions import holds
from vecsec_client.frameworks.steps import Call, Steps
from vecsec_client.frameworks.values import MOST_AT_A_TIME
from vecsec_client.results import Document, DocumentInput, SearchAnswer

_DEFAULT_COLLECTION = "documents"


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A tenant's collection."""

    logger: logging.Logger
    """The framework's own: told of a collection that is not there."""
    tenant: str | None
    """None means the client's default."""
    name: str
    """Empty means "documents"."""

    def of_tenant(self, tenant: str | None) -> Self:
        """The same collection of another tenant; None for the same one."""
        return self if tenant is None else replace(self, tenant=tenant)

    def search(
        self,
        query: str | Sequence[float],
        *,
        k: int,
        condition: MetadataFilter | None,
        allow_mock: bool,
        include_embeddings: bool = False,
    ) -> Steps[SearchAnswer]:
        """The `k` nearest rows.

        Raises:
            Unavailable: if there are made-up rows alone, and they are not allowed.
        """
        # By vectors: scores are similarities to the frameworks.
        asked = {"k": k, "filter": condition, "mode": "vector", "include_embeddings": include_embeddings}
        with AbsentCollection(self.logger):
            answer: SearchAnswer = yield Call("search", query, allow_mock=allow_mock, **asked, **self._place)
            if not allow_mock and not answer.is_real:
                raise Unavailable(
                    f"the gateway answered with made-up rows ({made_up_reason(answer)}), which are not given out as "
                    "documents; a store made with allow_mock=True takes them",
                    request_id=answer.request_id,
                )
            return answer
        return NOTHING_FOUND

    def store(self, documents: Sequence[DocumentInput]) -> Steps[None]:
        """Store rows; those that have the same ids are replaced whole.

        Raises:
            DocumentsRejected: naming the row and field that the services refuse. Nothing of its batch of 1,000, and of
                later ones, is stored.
        """
        if documents:
            yield Call("import_documents", documents, batch_size=MOST_AT_A_TIME, strict=True, **self._place)

    def read(self, ids: Sequence[str]) -> Steps[list[Document]]:
        """Those of these rows that the caller may read, in the order of the ids."""
        rows: list[Document] = []
        with AbsentCollection(self.logger):
            for some in pages(ids):
                answer = yield Call("get_documents", some, **self._place)
                rows += answer.documents
        return rows

    def delete(self, ids: Sequence[str]) -> Steps[int]:
        """Delete those of these rows that the caller may delete; how many these were."""
        deleted = 0
        with AbsentCollection(self.logger):
            for some in pages(ids):
                answer = yield Call("delete_documents", some, **self._place)
                deleted += answer.deleted_count
        return deleted

    def read_all(self) -> Steps[list[Document]]:
        """All rows that the caller may read, in the order of their ids."""
        rows: list[Document] = []
        token = ""
        with AbsentCollection(self.logger):
            while True:
                page = yield Call("list_document_ids", page_size=MOST_AT_A_TIME, page_token=token, **self._place)
                rows += yield from self.read(page.document_ids)
                token = page.next_page_token
                if not token:
                    break
        return rows

    def read_matching(self, condition: MetadataFilter) -> Steps[list[Document]]:
        """All rows that meet a condition and that the caller may read, in the order of their ids.

        Searched for, which finds up to 1,000; where there are more the whole collection is read.
        """
        dimensions = yield from self._dimensions()
        if not dimensions:
            return []
        anywhere = [1.0] + [0.0] * (dimensions - 1)
        answer = yield from self.search(anywhere, k=MOST_AT_A_TIME, condition=condition, allow_mock=False)
        if len(answer.results) < MOST_AT_A_TIME:
            return sorted(answer.results, key=lambda row: row.document_id)
        rows = yield from self.read_all()
        return [row for row in rows if holds(condition, row.metadata)]

    def count(self) -> Steps[int]:
        """How many rows the caller may read."""
        found = yield Call("list_collections", tenant=self.tenant)
        return sum(each.document_count for each in found if each.collection_id == self._id)

    def _dimensions(self) -> Steps[int]:
        """How many numbers an embedding has; 0 for a collection that is not there."""
        found = yield Call("list_collections", tenant=self.tenant)
        return sum(each.dimensions for each in found if each.collection_id == self._id)

    @property
    def _id(self) -> str:
        return self.name or _DEFAULT_COLLECTION

    @property
    def _place(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "collection": self.name}


def asks_for_unknown_key(error: InvalidArgument) -> bool:
    """Whether a filter was refused since no row that the caller may read has one of its keys."""
    fields = [each.field for each in error.violations]
    return bool(fields) and all(each.startswith("filter.") and each.endswith(".key") for each in fields)


def made_up_reason(answer: SearchAnswer) -> str:
    """Why an answer is made up."""
    return "no reason given" if answer.mock_reason is None else answer.mock_reason.value


def pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids, as many at a time as one call takes.

    Raises:
        ValueError: if they are one text.
    """
    if isinstance(ids, str):
        raise ValueError(f"ids: must be a list, not the one text {ids[:80]!r}")
    for start in range(0, len(ids), MOST_AT_A_TIME):
        yield ids[start : start + MOST_AT_A_TIME]
