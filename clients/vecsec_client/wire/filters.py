"""Metadata filters as protobuf."""

from dataclasses import asdict

from vecsec.type.v1 import filter_pb2
from vecsec_client.errors import InvalidArgument
from vecsec_client.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    OfSources,
    Range,
    TextContains,
)
from vecsec_client.several import several
from vecsec_client.wire.values import naming, value_to_proto

_MAX_DEPTH = 32
"""Well beyond what the services take (8): it only keeps a runaway nesting from exhausting the stack here."""


def filter_to_proto(condition: MetadataFilter, field: str = "filter", depth: int = 1) -> filter_pb2.MetadataFilter:
    """A condition as protobuf; `field` is its path in the request.

    Raises:
        InvalidArgument: naming the field that cannot be sent.
    """
    if depth > _MAX_DEPTH:
        raise InvalidArgument.of("filter", f"nested deeper than {_MAX_DEPTH} levels")
    with naming(field):
        match condition:
            case AllOf(filters):
                parts = _parts(filters, f"{field}.all_of", depth)
                return filter_pb2.MetadataFilter(all_of=filter_pb2.MetadataFilter.AllOf(filters=parts))
            case AnyOf(filters):
                parts = _parts(filters, f"{field}.any_of", depth)
                return filter_pb2.MetadataFilter(any_of=filter_pb2.MetadataFilter.AnyOf(filters=parts))
            case Not(inner):
                part = filter_to_proto(inner, f"{field}.not.filter", depth + 1)
                return _named("not", filter_pb2.MetadataFilter.Not(filter=part))
        return _single(condition, field)


def _single(
    condition: Equals | In | Range | Exists | TextContains | OfSources, field: str
) -> filter_pb2.MetadataFilter:
    match condition:
        case Equals(key, value):
            equals = filter_pb2.MetadataFilter.Equals(key=key, value=value_to_proto(value))
            return filter_pb2.MetadataFilter(equals=equals)
        case In(key, values):
            members = [value_to_proto(value) for value in several(values)]
            return _named("in", filter_pb2.MetadataFilter.In(key=key, values=members))
        case Range():
            return filter_pb2.MetadataFilter(range=filter_pb2.MetadataFilter.Range(**asdict(condition)))
        case Exists(key):
            return filter_pb2.MetadataFilter(exists=filter_pb2.MetadataFilter.Exists(key=key))
        case TextContains(text):
            return filter_pb2.MetadataFilter(text_contains=filter_pb2.MetadataFilter.TextContains(text=text))
        case OfSources(source_ids):
            return filter_pb2.MetadataFilter(sources=filter_pb2.MetadataFilter.Sources(source_ids=source_ids))
    raise InvalidArgument.of(field, f"not a filter: {type(condition).__name__}; build one with vecsec_client.filters")


def _named(
    name: str, condition: filter_pb2.MetadataFilter.In | filter_pb2.MetadataFilter.Not
) -> filter_pb2.MetadataFilter:
    """A filter whose field is a keyword of Python."""
    message = filter_pb2.MetadataFilter()
    getattr(message, name).CopyFrom(condition)
    return message


def _parts(filters: tuple[MetadataFilter, ...], field: str, depth: int) -> list[filter_pb2.MetadataFilter]:
    return [filter_to_proto(part, f"{field}.filters[{position}]", depth + 1) for position, part in enumerate(filters)]
