"""Sources that are replaced as a whole: what of them is stored, and is not among what takes its place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.sources import SOURCE_KEY


@dataclass(frozen=True, slots=True)
class Surplus:
    """Documents that go. Their ids are told nobody: who may write them need not be among their readers."""

    document_ids: Sequence[str] = ()
    labels: Mapping[str, frozenset[Label]] = field(default_factory=dict)
    """By source."""

    def labels_of(self, documents: Sequence[Document]) -> Iterator[tuple[int, frozenset[Label]]]:
        """The labels that go with each document's source, by the document's number. A caller who may not write one of
        them is refused as for a label of the documents' own: in the same words, of the same documents."""
        for number, document in enumerate(documents):
            labels = self.labels.get(str(document.metadata.get(SOURCE_KEY)))
            if labels:
                yield number, labels


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
    labels: dict[str, set[Label]] = {}
    for source_id, label in going.values():
        labels.setdefault(source_id, set()).add(label)
    return Surplus(list(going), {source_id: frozenset(each) for source_id, each in labels.items()})
