"""Sources that are replaced as a whole: what of them is stored, and is not among what takes its place."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.sources import SOURCE_KEY


@dataclass(frozen=True, slots=True)
class Surplus:
    """Documents that go. Their ids are told nobody: who may write them need not be among their readers."""

    document_ids: Sequence[str] = ()
    labels: frozenset[Label] = frozenset()
    """Of all of them. A caller who may not write one of these is refused in the words that are said of rows of the
    batch's own ids, and is not told of which source: of many that were guessed, it would learn which there are."""


async def surplus_of(collection: OpenCollection, documents: Sequence[Document]) -> Surplus:
    """What goes where these documents are all that there is of their sources; the caller holds the writer's lock."""
    sources = {str(each.metadata[SOURCE_KEY]) for each in documents if SOURCE_KEY in each.metadata}
    if not sources:
        return Surplus()
    staying = {each.document_id for each in documents}
    going = {
        document_id: passage
        for document_id, passage in (await collection.passages_of(sources)).items()
        if document_id not in staying
    }
    return Surplus(list(going), frozenset(label for _, label in going.values()))
