"""What holds for a batch of new documents, whatever is stored already."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Label, Sensitivity
from vecsec_retrieval.model.embeddings import has_direction
from vecsec_retrieval.model.rows import EXTERNAL_MODEL, CollectionInfo, Document, Metadata, Vector
from vecsec_retrieval.model.sources import SourcePassage, marked


@dataclass(frozen=True, slots=True, eq=False)
class NewDocument:
    """A document to store. It has no tenant: that comes from the grant."""

    document_id: str
    text: str
    sensitivity: Sensitivity | None
    topics: frozenset[str]
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    metadata: Metadata | None = None
    embedding: Vector | None = None
    passage: SourcePassage | None = None


def labelled(documents: Sequence[NewDocument], tenant_id: str) -> list[Document]:
    """The documents with their labels.

    Raises:
        InvalidRequest: naming ids that occur twice, and attributes that would pass for a part of the label itself.
    """
    violations = _repeated_ids(documents) + _reserved_attributes(documents)
    if violations:
        raise InvalidRequest(violations)
    return [
        Document(
            new.document_id,
            new.text,
            Label(tenant_id, new.sensitivity, new.topics, new.attributes),
            marked(new.metadata or {}, new.passage),
            new.embedding,
        )
        for new in documents
    ]


def chosen_model(info: CollectionInfo | None, wanted: str, default: str, documents: Sequence[Document]) -> str:
    """The embedding model of a collection, which is to be made if `info` is None; `wanted` may be empty.

    It may not be the one that is wanted: `other_model`.
    """
    if info is not None:
        return info.embedding_model
    if wanted:
        return wanted
    brings_all = all(document.embedding is not None for document in documents)
    return EXTERNAL_MODEL if brings_all else default


def other_model(info: CollectionInfo, *, is_visible: bool) -> InvalidRequest:
    """A collection keeps its model; what that is, is told to those alone who see documents in it."""
    if is_visible:
        description = f"collection {info.collection_id!r} has the model {info.embedding_model!r} and keeps it"
    else:
        description = "cannot be used for this collection; leave it empty, or choose another collection"
    return InvalidRequest.of("embedding_model", description)


def unfit_for_hidden(unfit: InvalidRequest) -> InvalidRequest:
    """What is told instead to a writer who sees nothing in the collection: not its vectors' length, not whether it has
    a model, and not which of the documents would have fitted."""
    return InvalidRequest(
        [FieldViolation("documents", "do not fit this collection; choose another one, or ask who may see into it")],
        detail=unfit.message,
    )


def refuse_missing_embeddings(documents: Sequence[Document]) -> None:
    """For collections whose callers bring all embeddings.

    Raises:
        InvalidRequest: naming the documents without one.
    """
    violations = [
        FieldViolation(f"documents[{position}].embedding", "is missing: this collection's embeddings are external")
        for position, document in enumerate(documents)
        if document.embedding is None
    ]
    if violations:
        raise InvalidRequest(violations)


def refuse_unfit_embeddings(documents: Sequence[Document], dimensions: int) -> None:
    """Check the embeddings that callers brought.

    Raises:
        InvalidRequest: naming embeddings of another length, and those without a direction.
    """
    violations = []
    for position, document in enumerate(documents):
        if document.embedding is None:
            continue
        field = f"documents[{position}].embedding"
        length = len(document.embedding)
        if length != dimensions:
            violations.append(
                FieldViolation(field, f"has {length} numbers; this collection's embeddings have {dimensions}")
            )
        elif not has_direction(document.embedding):
            violations.append(
                FieldViolation(field, "must have a length between 1e-15 and 1e15: cosine similarity needs a direction")
            )
    if violations:
        raise InvalidRequest(violations)


def _repeated_ids(documents: Sequence[NewDocument]) -> list[FieldViolation]:
    seen: dict[str, int] = {}
    violations = []
    for position, document in enumerate(documents):
        first = seen.setdefault(document.document_id, position)
        if first != position:
            violations.append(
                FieldViolation(
                    f"documents[{position}].document_id",
                    f"{document.document_id!r} is the id of documents[{first}], too",
                )
            )
    return violations


def _reserved_attributes(documents: Sequence[NewDocument]) -> list[FieldViolation]:
    return [
        FieldViolation(f"documents[{position}].attributes[{name!r}]", "is a part of every label and cannot be set here")
        for position, document in enumerate(documents)
        for name, _ in document.attributes
        if name in OWN_PARTS
    ]
