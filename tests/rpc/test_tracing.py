"""One search is one trace over all hops, seen by a collector; no content is in it."""

from pathlib import Path

from support.collector import Attributes, Collector, collecting, own_attributes
from support.stack import document, running_stack

QUESTION = "a very particular question"
TEXT = "a very particular answer"


def traces(collector: Collector, span_name: str) -> dict[str, set[bytes]]:
    """Trace ids of the spans of this name, by service."""
    found: dict[str, set[bytes]] = {}
    for service, span in collector.spans():
        if span.name.endswith(span_name):
            found.setdefault(service, set()).add(span.trace_id)
    return found


def attributes(collector: Collector, service_name: str, span_name: str) -> Attributes:
    """What VecSec put on the one span by which a service serves this call."""
    [found] = [
        own_attributes(span)
        for service, span in collector.spans()
        if service == service_name and span.name.endswith(span_name) and span.kind == span.SPAN_KIND_SERVER
    ]
    return found


def facts(found: Attributes) -> Attributes:
    """All but times and the request's id."""
    return {name: value for name, value in found.items() if not name.endswith("_us") and name != "request_id"}


def times(found: Attributes) -> set[str]:
    """Of what it is said how long it took: longer than nothing."""
    taken = {name: value for name, value in found.items() if name.endswith("_us")}
    assert all(isinstance(value, float) and value > 0 for value in taken.values()), taken
    return taken.keys()


async def test_one_search_is_one_trace(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with running_stack(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as stack:
            await stack.load("tenant_a", document("a", TEXT))
            assert await stack.ids(stack.issuer.token(), "tenant_a", QUESTION) == ["a"]
        # Leaving the stack has flushed what was still unsent.
        searches, checks = traces(collector, "SearchDocuments"), traces(collector, "CheckDocuments")
        [trace_id] = searches["vecsec-gateway"]
        assert searches["vecsec-retrieval"] == {trace_id}
        assert trace_id in checks["vecsec-policy"]
        gateway = attributes(collector, "vecsec-gateway", "SearchDocuments")
        retrieval = attributes(collector, "vecsec-retrieval", "SearchDocuments")
        assert gateway["policy"]
        assert facts(gateway) == {
            "provenance": "real",
            "result_count": 1,
            "withheld_count": 0,
            "policy": gateway["policy"],
        }
        assert facts(retrieval) == {"strategy": "exact_scan", "result_count": 1, "filtered_count": 0}
        assert times(gateway) == {"token_us"}
        assert times(retrieval) == {"grant_us", "mask_us", "scan_us"}
        exported = b"".join(request.SerializeToString() for request in collector.received)
        assert QUESTION.encode() not in exported
        assert TEXT.encode() not in exported


async def test_without_an_endpoint_nothing_is_sent(tmp_path: Path) -> None:
    with collecting() as (collector, _):
        async with running_stack(tmp_path) as stack:
            await stack.ids(stack.issuer.token(), "tenant_a", QUESTION)
        assert not collector.received
