"""The parts of a search are found in its trace, and nowhere else."""

from bench.security_cost import parts_of_searches
from opentelemetry.proto.trace.v1.trace_pb2 import Span

GATEWAY, RETRIEVAL, POLICY = "vecsec-gateway", "vecsec-retrieval", "vecsec-policy"
SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


def span(trace: int, name: str, kind: Span.SpanKind, start: int, microseconds: int, **times: float) -> Span:
    found = Span(
        trace_id=bytes([trace]),
        name=f"/vecsec.some.v1.Service/{name}",
        kind=kind,
        start_time_unix_nano=start,
        end_time_unix_nano=start + microseconds * 1000,
    )
    for key, value in times.items():
        found.attributes.add(key=f"vecsec.{key}").value.double_value = value
    return found


def search(trace: int, start: int) -> list[tuple[str, Span]]:
    return [
        (GATEWAY, span(trace, "SearchDocuments", CLIENT, start, 500)),
        (RETRIEVAL, span(trace, "SearchDocuments", SERVER, start, 400, grant_us=3.0, mask_us=4.0, scan_us=90.0)),
        (GATEWAY, span(trace, "CheckDocuments", CLIENT, start, 200)),
        (POLICY, span(trace, "CheckDocuments", SERVER, start, 100, token_us=50.0)),
        (GATEWAY, span(trace, "SearchDocuments", SERVER, start, 1000, token_us=2.0)),
    ]


def test_what_the_policy_service_took_is_counted_once_and_with_the_way_there() -> None:
    [found] = parts_of_searches(search(1, 5))
    assert found == {"token": 2.0, "plan": 0.0, "grant": 3.0, "mask": 4.0, "check": 200.0, "search": 1000.0}


def test_a_plan_is_part_of_the_search_that_needed_it() -> None:
    spans = [*search(1, 50), *search(2, 5), (GATEWAY, span(2, "PlanAccess", CLIENT, 6, 700))]
    assert [each["plan"] for each in parts_of_searches(spans)] == [700.0, 0.0]  # in the order in which they began


def test_other_calls_are_no_searches() -> None:
    spans = [
        (GATEWAY, span(3, "GetDocuments", SERVER, 1, 100)),
        (GATEWAY, span(3, "CheckDocuments", CLIENT, 1, 50)),
    ]
    assert parts_of_searches(spans) == []
