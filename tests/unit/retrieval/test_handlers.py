"""Requests become values within their limits."""

import pytest

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import filter_pb2, value_pb2
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_retrieval import request_values
from vecsec_retrieval.model.filters import AllOf

ONE = filter_pb2.MetadataFilter(
    equals=filter_pb2.MetadataFilter.Equals(key="key", value=value_pb2.Value(boolean_value=True))
)


def all_of(*parts: filter_pb2.MetadataFilter) -> filter_pb2.MetadataFilter:
    return filter_pb2.MetadataFilter(all_of=filter_pb2.MetadataFilter.AllOf(filters=parts))


def test_a_filter_of_64_conditions_is_read() -> None:
    read = request_values.metadata_filter(pb.SearchDocumentsRequest(filter=all_of(*[ONE] * 64)))
    assert isinstance(read, AllOf)
    assert len(read.filters) == 64


def test_reading_a_filter_ends_at_the_condition_that_is_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    condition = request_values._condition

    def counted(message: filter_pb2.MetadataFilter, path: str) -> object:
        built.append(path)
        return condition(message, path)

    monkeypatch.setattr(request_values, "_condition", counted)
    block = all_of(*[all_of(*[ONE] * 64)] * 64)
    with pytest.raises(InvalidRequest, match="more than 64 conditions"):
        request_values.metadata_filter(pb.SearchDocumentsRequest(filter=block))
    assert len(built) == 64
