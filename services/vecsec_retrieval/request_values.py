"""Requests of the retrieval service as values: what is looked for, by which filter, and which labels are to change."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import batch_pb2, filter_pb2, label_pb2, value_pb2
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.domain.readers import READERS
from vecsec_chassis.rpc import wire
from vecsec_retrieval.model.filters import (
    MAXIMUM_CONDITIONS,
    MAXIMUM_DEPTH,
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    Range,
    TextContains,
)
from vecsec_retrieval.model.label_change import LabelChange
from vecsec_retrieval.model.rows import MetadataValue, Vector
from vecsec_retrieval.model.sources import SOURCE_KEY
from vecsec_retrieval.search.shaping import Shape
from vecsec_retrieval.use_cases.collection_search import SearchWanted
from vecsec_retrieval.use_cases.search_batch import QueryInCollection

HasFilter: TypeAlias = (
    pb.SearchDocumentsRequest
    | batch_pb2.BatchQuery
    | pb.GetDocumentsRequest
    | pb.ListDocumentIdsRequest
    | pb.DeleteDocumentsRequest
    | pb.RelabelDocumentsRequest
)
_COMBINATIONS: dict[str, type[AllOf] | type[AnyOf]] = {"all_of": AllOf, "any_of": AnyOf}


def search_wanted(
    message: pb.SearchDocumentsRequest | batch_pb2.BatchQuery, metadata: MetadataFilter | None
) -> SearchWanted[str | Vector]:
    """What to look for, under a filter that was read."""
    query = message.query
    return SearchWanted(
        query.text if query.WhichOneof("kind") == "text" else vector_of(query.vector.values),
        message.k,
        metadata,
        Shape(
            message.offset,
            message.min_score if message.HasField("min_score") else None,
            message.distinct_texts,
        ),
        wire.search_mode_from_proto(message.mode),
    )


def batch_queries(message: pb.SearchDocumentsBatchRequest) -> list[QueryInCollection | InvalidRequest]:
    return [_batch_query(query) for query in message.queries]


def _batch_query(message: batch_pb2.BatchQuery) -> QueryInCollection | InvalidRequest:
    try:
        wanted = search_wanted(message, metadata_filter(message))
        return QueryInCollection(message.collection_id or DEFAULT_COLLECTION_ID, wanted)
    except InvalidRequest as error:
        return error


def labels_of(messages: Iterable[label_pb2.Label]) -> frozenset[Label]:
    return frozenset(map(wire.label_from_proto, messages))


def label_change(message: label_pb2.LabelChange) -> LabelChange:
    """What is to be otherwise in labels.

    Raises:
        InvalidRequest: if an attribute is of a kind that rules cannot use, or a reader is nobody.
    """
    attributes = wire.new_attributes(message, "change")
    removed = {*message.removed_attributes, *([READERS] if message.remove_readers else [])}
    both = sorted(removed & dict(attributes).keys())
    if both:
        raise InvalidRequest.of("change.removed_attributes", f"{both[0]!r} is to be set, too; do one of the two")
    return LabelChange(
        wire.sensitivity_from_proto(message.sensitivity), frozenset(message.topics), attributes, frozenset(removed)
    )


def metadata_filter(message: HasFilter) -> MetadataFilter | None:
    """The condition on documents' metadata that a request has.

    Raises:
        InvalidRequest: if it is nested too deeply, has too many conditions or compares with a list.
    """
    return _FilterReader().read(message.filter, "filter") if message.HasField("filter") else None


def vector_of(values: Iterable[float]) -> Vector:
    return np.fromiter(values, dtype=np.float32)


class _FilterReader:
    """Reads one filter; stops at the limits before anything beyond them is built."""

    def __init__(self) -> None:
        self._conditions = 0

    def read(self, message: filter_pb2.MetadataFilter, path: str, depth: int = 1) -> MetadataFilter:
        if depth > MAXIMUM_DEPTH:
            raise InvalidRequest.of("filter", f"is nested more than {MAXIMUM_DEPTH} levels deep")
        kind = message.WhichOneof("condition")
        if kind == "all_of" or kind == "any_of":  # noqa: PLR1714 (a type checker reads it so)
            parts = getattr(message, kind).filters
            return _COMBINATIONS[kind](
                tuple(
                    self.read(part, f"{path}.{kind}.filters[{number}]", depth + 1) for number, part in enumerate(parts)
                )
            )
        if kind == "not":
            return Not(self.read(getattr(message, kind).filter, f"{path}.not.filter", depth + 1))  # a keyword of Python
        self._conditions += 1
        if self._conditions > MAXIMUM_CONDITIONS:
            raise InvalidRequest.of("filter", f"has more than {MAXIMUM_CONDITIONS} conditions")
        return _condition(message, path)


def _condition(message: filter_pb2.MetadataFilter, path: str) -> MetadataFilter:
    match message.WhichOneof("condition"):
        case "equals":
            return Equals(message.equals.key, _scalar(message.equals.value, f"{path}.equals.value"))
        case "in":
            one_of = getattr(message, "in")  # a keyword of Python
            values = [_scalar(value, f"{path}.in.values[{number}]") for number, value in enumerate(one_of.values)]
            return In(one_of.key, tuple(values))
        case "range":
            bounds = message.range
            return Range(
                bounds.key,
                at_least=bounds.at_least if bounds.HasField("at_least") else None,
                more_than=bounds.more_than if bounds.HasField("more_than") else None,
                at_most=bounds.at_most if bounds.HasField("at_most") else None,
                less_than=bounds.less_than if bounds.HasField("less_than") else None,
            )
        case "exists":
            return Exists(message.exists.key)
        case "text_contains":
            return TextContains(message.text_contains.text)
        case "sources":
            return In(SOURCE_KEY, tuple(message.sources.source_ids))
    raise InvalidRequest.of(path, "set exactly one condition")


def _scalar(message: value_pb2.Value, field: str) -> MetadataValue:
    if message.HasField("string_list_value"):
        raise InvalidRequest.of(field, "must be a text, a number or a boolean")
    return wire.value_from_proto(message)
