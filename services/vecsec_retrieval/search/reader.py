"""What use cases ask of a collection that they read, whether it is in memory or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vecsec_chassis.domain.labels import Label
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_retrieval.memory.index import KnownRows
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.model.sources import SourceSummary
from vecsec_retrieval.visibility.eyes import Eyes
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.words import TextQuery

Query_co = TypeVar("Query_co", bound=str | Vector | None, covariant=True)


@dataclass(frozen=True, slots=True)
class SearchOrder(Generic[Query_co]):
    """What to look for in a collection: a vector of the collection's dimensions and length 1, or words, or both: the
    modes VECTOR, TEXT and HYBRID."""

    query: Query_co
    k: int
    metadata: MetadataFilter | None = None
    words: TextQuery | None = None


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What was found, best first, and how."""

    results: Sequence[ScoredDocument]
    strategy: str
    filtered_rows: int = 0
    """Rows met that were left out because their label is not visible."""
    mode: SearchMode = SearchMode.VECTOR
    """By what it was found."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label and how many documents bear it; none if its last one is gone."""

    label: Label
    document_count: int


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """Rows that something is to be done with, in any order."""

    document_ids: Sequence[str]
    labels: Sequence[Label]
    """Of each."""
    key_sets: Sequence[frozenset[str]]
    """Of each, its metadata keys."""
    places: KnownRows | None
    """Where they are in memory, if they are there."""


class CollectionReader(Protocol):
    """Reads one collection through a grant's eyes; nothing that it returns is invisible to the grant."""

    async def has_visible(self, visibility: Eyes) -> bool:
        """Whether any document is visible."""
        ...

    async def count(self, visibility: Eyes, metadata: MetadataFilter | None = None) -> int:
        """How many documents are visible, and match."""
        ...

    async def label_counts(self, visibility: Visibility, *, after_key: str, limit: int) -> list[LabelCount]:
        """The visible labels by their keys, from the first behind `after_key`: fewer than `limit` only at the end."""
        ...

    async def ids(
        self, visibility: Eyes, *, after_id: str, limit: int, metadata: MetadataFilter | None = None
    ) -> list[str]:
        """The ids of visible documents that match in ascending order, from the first behind `after_id`."""
        ...

    async def select(
        self, eyes: Eyes, *, metadata: MetadataFilter | None = None, document_ids: Sequence[str] | None = None
    ) -> SelectedRows:
        """All visible documents that match, or those among some ids. Its caller holds the writer's lock: what was
        selected stays so until it is let go."""
        ...

    async def sources(self, visibility: Visibility, *, after_id: str, limit: int) -> list[SourceSummary]:
        """The sources of visible documents by their ids, from the first behind `after_id`: fewer than `limit` only at
        the end. Of each, what its visible passages say."""
        ...

    async def metadata_keys(self, visibility: Eyes) -> frozenset[str]:
        """The metadata keys of visible documents; from a store perhaps some of documents that are gone, see
        `refuse_misspelt`."""
        ...

    async def value_kinds(self, eyes: Eyes, keys: frozenset[str]) -> Mapping[str, frozenset[str]]:
        """Of which kinds these keys' values are in visible documents; empty with a Chroma server, whatever is there."""
        ...

    async def get(self, document_ids: Sequence[str], visibility: Visibility) -> list[Document]:
        """The visible documents among these, in this order, without embeddings."""
        ...

    async def search(self, order: SearchOrder[Vector | None], visibility: Visibility) -> SearchAnswer:
        """The k best of the visible documents that match, or all of them if they are fewer; without embeddings. By
        words alone, only those that have some of them are found."""
        ...

    async def search_many(
        self, orders: Sequence[SearchOrder[Vector | None]], visibility: Visibility
    ) -> list[SearchAnswer]:
        """The same for each of several, bit for bit."""
        ...
