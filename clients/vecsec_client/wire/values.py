"""Single values and whole documents: from Python to protobuf and back."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import asdict, fields
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from google.protobuf.message import Message

from vecsec.type.v1 import (
    access_pb2,
    document_pb2,
    label_count_pb2,
    label_pb2,
    query_pb2,
    sensitivity_pb2,
    source_pb2,
    value_pb2,
)
from vecsec_client.errors import InvalidArgument
from vecsec_client.results import Document, DocumentInput, LabelCount, ScoredDocument
from vecsec_client.several import Texts, several
from vecsec_client.sources import Source, SourceLabel, SourcePassage
from vecsec_client.values import Action, AttributeValue, Provenance, Scalar, SearchMode, Sensitivity, SimilarityMetric

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SensitivityNumber: TypeAlias = "sensitivity_pb2.Sensitivity.ValueType"
ActionNumber: TypeAlias = "access_pb2.Action.ValueType"
Word = TypeVar("Word", bound=StrEnum)
ResultT = TypeVar("ResultT", bound="DataclassInstance")
RequestT = TypeVar("RequestT", bound=Message)

_SENSITIVITY_OF_NUMBER: Mapping[int, Sensitivity] = {
    sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{each.name}"): each for each in Sensitivity
}
_METRIC_OF_NUMBER: Mapping[int, SimilarityMetric] = {
    document_pb2.SimilarityMetric.Value(f"SIMILARITY_METRIC_{each.name}"): each for each in SimilarityMetric
}
_MODE_OF_NUMBER: Mapping[int, SearchMode] = {
    query_pb2.SearchMode.Value(f"SEARCH_MODE_{each.name}"): each for each in SearchMode if each is not SearchMode.AUTO
}
_PROVENANCE_OF_NUMBER: Mapping[int, Provenance] = {
    document_pb2.Provenance.Value(each.value): each for each in Provenance
}


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Whatever protobuf will not take becomes an error that names the field.

    Raises:
        InvalidArgument: for values of a wrong type, out of range, or that are not valid Unicode.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidArgument.of(field, str(error)) from error


def fill(request: RequestT, **values: str | float) -> RequestT:
    """Set single fields; what protobuf will not take is told by the field's name."""
    for name, value in values.items():
        with naming(name):
            setattr(request, name, value)
    return request


def word(kind: type[Word], value: Word | str, field: str) -> Word:
    """The member of an enum with this value.

    Raises:
        InvalidArgument: naming the field and the known words.
    """
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)
        raise InvalidArgument.of(field, f"unknown word {str(value)[:80]!r}; known: {known}") from error


def sensitivity_number(value: Sensitivity | str | None, field: str) -> SensitivityNumber:
    """The number of a sensitivity; the unspecified one for None, which the services refuse."""
    if value is None:
        return sensitivity_pb2.SENSITIVITY_UNSPECIFIED
    return sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{word(Sensitivity, value, field).name}")


def action_number(value: Action | str) -> ActionNumber:
    """The number of an action."""
    return access_pb2.Action.Value(f"ACTION_{word(Action, value, 'action').name}")


def value_to_proto(value: AttributeValue | Sequence[str]) -> value_pb2.Value:
    """One typed value.

    Raises:
        TypeError: if it is of a type that the contract does not know.
    """
    if isinstance(value, bool):
        return value_pb2.Value(boolean_value=value)
    if isinstance(value, int):
        return value_pb2.Value(integer_value=value)
    if isinstance(value, float):
        return value_pb2.Value(number_value=value)
    if isinstance(value, str):
        return value_pb2.Value(string_value=value)
    if isinstance(value, AbstractSet | Sequence):
        members = sorted(value) if isinstance(value, AbstractSet) else value
        return value_pb2.Value(string_list_value=value_pb2.StringList(values=members))
    raise TypeError(f"must be a text, a number, a boolean or a set of texts, not {type(value).__name__}")


def label_to_proto(
    *,
    tenant_id: str,
    sensitivity: Sensitivity | str,
    topics: Texts,
    attributes: Mapping[str, AttributeValue | Sequence[str]],
    readers: Texts | None = None,
) -> label_pb2.Label:
    """A label to ask about."""
    message = label_pb2.Label(sensitivity=sensitivity_number(sensitivity, "label.sensitivity"))
    with naming("label.tenant_id"):
        message.tenant_id = tenant_id
    with naming("label.topics"):
        message.topics.extend(several(topics))
    _fill(message.attributes, attributes, "label.attributes")
    if readers is not None:
        with naming("label.readers"):
            message.readers.CopyFrom(label_pb2.Readers(names=several(readers)))
    return message


def label_change_to_proto(
    *,
    sensitivity: Sensitivity | str | None,
    topics: Texts,
    attributes: Mapping[str, AttributeValue | Sequence[str]],
    removed_attributes: Texts,
    readers: Texts | None,
    remove_readers: bool,
) -> label_pb2.LabelChange:
    """What is to be otherwise in labels."""
    message = label_pb2.LabelChange(sensitivity=sensitivity_number(sensitivity, "change.sensitivity"))
    with naming("change.remove_readers"):
        message.remove_readers = remove_readers
    with naming("change.topics"):
        message.topics.extend(several(topics))
    _fill(message.attributes, attributes, "change.attributes")
    with naming("change.removed_attributes"):
        message.removed_attributes.extend(several(removed_attributes))
    if readers is not None:
        with naming("change.readers"):
            message.readers.CopyFrom(label_pb2.Readers(names=several(readers)))
    return message


def document_to_proto(document: DocumentInput) -> document_pb2.DocumentInput:
    """A document to store.

    Raises:
        InvalidArgument: naming the field, relative to the document, that cannot be sent.
    """
    message = document_pb2.DocumentInput(sensitivity=sensitivity_number(document.sensitivity, "sensitivity"))
    with naming("document_id"):
        message.document_id = document.document_id
    with naming("text"):
        message.text = document.text
    with naming("topics"):
        message.topics.extend(several(document.topics))
    with naming("embedding"):
        message.embedding.extend(document.embedding)
    _fill(message.attributes, document.attributes, "attributes")
    if document.readers is not None:
        with naming("readers"):
            message.readers.CopyFrom(label_pb2.Readers(names=several(document.readers)))
    _fill(message.metadata, document.metadata, "metadata")
    if document.source is not None:
        with naming("source"):
            message.source.CopyFrom(document_pb2.SourcePassage(**asdict(document.source)))
    return message


def result(kind: type[ResultT], message: Message, **read: object) -> ResultT:
    """A result of this kind: what was read of it, and the other fields as the message has them under the same names."""
    same = {each.name: getattr(message, each.name) for each in fields(kind) if each.name not in read}
    return kind(**same, **read)


def document_from_proto(message: document_pb2.Document) -> Document:
    """A document as a reader gets it."""
    return result(Document, message, **_document_fields(message))


def label_count_from_proto(message: label_count_pb2.LabelCount) -> LabelCount:
    """A label with its collection and the number of its documents."""
    return result(LabelCount, message, **_label_fields(message.label))


def source_from_proto(message: source_pb2.Source) -> Source:
    """A source with the labels of its passages."""
    labels = (result(SourceLabel, label, **_label_fields(label)) for label in message.labels)
    return result(Source, message, labels=tuple(labels))


def scored_document_from_proto(message: document_pb2.ScoredDocument) -> ScoredDocument:
    """A document that a search found."""
    found: dict[str, object] = {"score": message.score, "provenance": provenance_from_proto(message.provenance)}
    for part in ("vector_score", "text_score", "vector_rank", "text_rank"):
        found[part] = getattr(message, part) if message.HasField(part) else None
    return result(ScoredDocument, message.document, **_document_fields(message.document), **found)


def provenance_from_proto(number: int) -> Provenance:
    """Where rows came from; numbers that this version does not know are not taken for real."""
    return _PROVENANCE_OF_NUMBER.get(number, Provenance.UNSPECIFIED)


def sensitivity_from_proto(number: int) -> Sensitivity | None:
    """A sensitivity; None for a level that this version does not know."""
    return _SENSITIVITY_OF_NUMBER.get(number)


def metric_from_proto(number: int) -> SimilarityMetric:
    """What scores mean."""
    return _METRIC_OF_NUMBER.get(number, SimilarityMetric.UNSPECIFIED)


def mode_from_proto(number: int) -> SearchMode | None:
    """By what documents were found; None where that is not said, or not known to this version."""
    return _MODE_OF_NUMBER.get(number) if number else None


def mode_number(value: SearchMode | str) -> "query_pb2.SearchMode.ValueType":
    """The number of a mode; the unspecified one stands for the best that there is."""
    mode = word(SearchMode, value, "mode")
    return query_pb2.SearchMode.Value(f"SEARCH_MODE_{'UNSPECIFIED' if mode is SearchMode.AUTO else mode.name}")


def _fill(
    target: Mapping[str, value_pb2.Value], values: Mapping[str, AttributeValue | Sequence[str]], field: str
) -> None:
    with naming(field):
        entries = list(values.items())
    for name, value in entries:
        with naming(f"{field}[{name!r}]"):
            target[name].CopyFrom(value_to_proto(value))


def _document_fields(message: document_pb2.Document) -> dict[str, object]:
    return {
        **_label_fields(message.label),
        "metadata": _metadata(message.metadata),
        "embedding": tuple(message.embedding),
        "source": result(SourcePassage, message.source) if message.HasField("source") else None,
    }


def _label_fields(label: label_pb2.Label) -> dict[str, object]:
    return {
        "tenant_id": label.tenant_id,
        "sensitivity": _SENSITIVITY_OF_NUMBER.get(label.sensitivity),
        "topics": tuple(label.topics),
        "attributes": {name: _attribute(value) for name, value in sorted(label.attributes.items())},
        "readers": tuple(label.readers.names) if label.HasField("readers") else None,
    }


def _metadata(messages: Mapping[str, value_pb2.Value]) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for name, message in sorted(messages.items()):
        value = _attribute(message)
        if isinstance(value, str | int | float | bool):  # the contract has no lists in metadata
            values[name] = value
    return values


def _attribute(message: value_pb2.Value) -> AttributeValue:
    kind = message.WhichOneof("kind")
    if kind == "string_list_value":
        return frozenset(message.string_list_value.values)
    value: Scalar = "" if kind is None else getattr(message, kind)
    return value
