"""What the clients send, and what they make of the answers."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.client_caller import Caller, MakeCaller
from support.fake_gateway import Failure, FakeGateway

import vecsec_client
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import (
    access_pb2,
    collection_pb2,
    document_pb2,
    label_count_pb2,
    label_pb2,
    sensitivity_pb2,
    value_pb2,
)
from vecsec_client import (
    Collection,
    DeterminingRule,
    Document,
    InvalidArgument,
    LabelCount,
    MockReason,
    Provenance,
    ScoredDocument,
    Sensitivity,
    ShadowDisagreements,
    SimilarityMetric,
    Unauthenticated,
    VecSecError,
    all_of,
    any_of,
    at_least,
    between,
    equals,
    exists,
    in_,
    not_,
    text_contains,
)

DOCUMENT = document_pb2.Document(
    document_id="d1",
    text="a passage",
    label=label_pb2.Label(
        tenant_id="tenant_a",
        sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL,
        topics=["rag", "retrieval"],
        attributes={"regions": value_pb2.Value(string_list_value=value_pb2.StringList(values=["eu", "us"]))},
    ),
    metadata={
        "page": value_pb2.Value(integer_value=3),
        "draft": value_pb2.Value(boolean_value=False),
        "weight": value_pb2.Value(number_value=0.5),
        "language": value_pb2.Value(string_value="en"),
    },
    embedding=[1.0, 0.5],
)
READ = {
    "document_id": "d1",
    "text": "a passage",
    "tenant_id": "tenant_a",
    "sensitivity": Sensitivity.INTERNAL,
    "topics": ("rag", "retrieval"),
    "attributes": {"regions": frozenset({"eu", "us"})},
    "metadata": {"page": 3, "draft": False, "weight": 0.5, "language": "en"},
    "embedding": (1.0, 0.5),
}


def search_response(**changes: Any) -> gateway_pb2.SearchDocumentsResponse:
    real = {
        "results": [
            document_pb2.ScoredDocument(document=DOCUMENT, score=0.75, provenance=document_pb2.PROVENANCE_REAL)
        ],
        "provenance": document_pb2.PROVENANCE_REAL,
        "metric": document_pb2.SIMILARITY_METRIC_COSINE,
        "policy_version": "abc",
        "request_id": "r1",
    }
    return gateway_pb2.SearchDocumentsResponse(**{**real, **changes})


async def test_search_sends_what_was_asked_and_reads_every_field(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    answer = await caller.call(
        "search",
        "what is rag?",
        tenant="tenant_b",
        k=7,
        collection="notes",
        filter=all_of(
            equals("language", "en"),
            any_of(between("page", 1, 3), in_("page", [7, 9])),
            not_(exists("draft")),
            text_contains("Rag"),
        ),
        include_embeddings=True,
    )
    request = gateway.received[0].request
    assert (request.tenant_id, request.collection_id, request.k) == ("tenant_b", "notes", 7)
    assert request.query.text == "what is rag?"
    assert request.fallback == gateway_pb2.FALLBACK_NONE
    assert request.include_embeddings
    first, second, third, fourth = request.filter.all_of.filters
    assert getattr(third, "not").filter.exists.key == "draft"
    assert fourth.text_contains.text == "Rag"
    assert (first.equals.key, first.equals.value.string_value) == ("language", "en")
    assert (second.any_of.filters[0].range.at_least, second.any_of.filters[0].range.at_most) == (1, 3)
    assert [value.integer_value for value in getattr(second.any_of.filters[1], "in").values] == [7, 9]

    assert answer.results == (ScoredDocument(**READ, score=0.75, provenance=Provenance.REAL),)
    assert answer.is_real
    assert answer.mock_reason is None
    assert (answer.metric, answer.policy_version, answer.request_id) == (SimilarityMetric.COSINE, "abc", "r1")


async def test_a_vector_is_a_query_too(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    await caller.call("search", [0.5, 1], k=1)
    assert list(gateway.received[0].request.query.vector.values) == [0.5, 1.0]


async def test_made_up_rows_are_not_taken_for_real(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response(
        provenance=document_pb2.PROVENANCE_MOCK, mock_reason=gateway_pb2.MOCK_REASON_CIRCUIT_OPEN
    )
    answer = await caller.call("search", "x", allow_mock=True)
    assert gateway.received[0].request.fallback == gateway_pb2.FALLBACK_MOCK
    assert answer.provenance is Provenance.MOCK
    assert answer.mock_reason is MockReason.CIRCUIT_OPEN
    assert not answer.is_real


@pytest.mark.parametrize("provenance", [document_pb2.PROVENANCE_MOCK, document_pb2.PROVENANCE_UNSPECIFIED, 99])
async def test_rows_that_are_not_real_come_to_nobody_who_did_not_ask_for_them(
    caller: Caller, gateway: FakeGateway, provenance: Any
) -> None:
    gateway.answers["SearchDocuments"] = search_response(
        provenance=provenance, mock_reason=gateway_pb2.MOCK_REASON_FLAG_OFF
    )
    with pytest.raises(vecsec_client.RealRetrievalUnavailable, match="not real") as caught:
        await caller.call("search", "x")
    assert (caught.value.mock_reason, caught.value.request_id) == (MockReason.FLAG_OFF, "r1")
    assert len(gateway.received) == 1
    with pytest.raises(vecsec_client.RealRetrievalUnavailable):
        await caller.call("search", "x", allow_mock=False)


async def test_a_client_may_take_made_up_rows_for_all_its_searches(
    make_caller: MakeCaller, gateway: FakeGateway
) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    mocking = make_caller(allow_mock=True)
    await mocking.call("search", "x")
    await Caller(mocking.client.with_token("another")).call("search", "x")
    await mocking.call("search", "x", allow_mock=False)
    sent = [each.request.fallback for each in gateway.received]
    assert sent == [gateway_pb2.FALLBACK_MOCK, gateway_pb2.FALLBACK_MOCK, gateway_pb2.FALLBACK_NONE]


@pytest.mark.parametrize(
    ("reason", "told", "why"),
    [
        ("REAL_RETRIEVAL_OFF", {}, MockReason.FLAG_OFF),
        ("RETRIEVAL_UNAVAILABLE", {}, MockReason.RETRIEVAL_FAILED),
        ("RETRIEVAL_UNAVAILABLE", {"circuit": "open"}, MockReason.CIRCUIT_OPEN),
    ],
)
async def test_the_error_says_why_there_is_nothing_real(
    make_caller: MakeCaller, gateway: FakeGateway, reason: str, told: dict[str, str], why: MockReason
) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, reason=reason, metadata=told, retry_after=0.01))
    with pytest.raises(vecsec_client.RealRetrievalUnavailable) as caught:
        await make_caller(retry_policy=vecsec_client.NO_RETRIES).call("search", "x")
    assert (caught.value.mock_reason, caught.value.reason, caught.value.retry_after) == (why, reason, 0.01)


@pytest.mark.parametrize("provenance", [document_pb2.PROVENANCE_UNSPECIFIED, 99])
async def test_rows_of_unknown_provenance_are_not_taken_for_real(
    caller: Caller, gateway: FakeGateway, provenance: Any
) -> None:
    gateway.answers["SearchDocuments"] = search_response(provenance=provenance)
    answer = await caller.call("search", "x", allow_mock=True)
    assert answer.provenance is Provenance.UNSPECIFIED
    assert not answer.is_real


async def test_one_made_up_row_makes_the_answer_unreal(caller: Caller, gateway: FakeGateway) -> None:
    row = document_pb2.ScoredDocument(document=DOCUMENT, provenance=document_pb2.PROVENANCE_MOCK)
    gateway.answers["SearchDocuments"] = search_response(results=[row])
    assert not (await caller.call("search", "x", allow_mock=True)).is_real
    with pytest.raises(vecsec_client.RealRetrievalUnavailable):
        await caller.call("search", "x")


async def test_get_documents(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["GetDocuments"] = gateway_pb2.GetDocumentsResponse(documents=[DOCUMENT], policy_version="abc")
    answer = await caller.call("get_documents", ["d1", "d2"])
    assert list(gateway.received[0].request.document_ids) == ["d1", "d2"]
    assert answer.documents == (Document(**READ),)
    assert answer.policy_version == "abc"


async def test_delete_documents(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["DeleteDocuments"] = gateway_pb2.DeleteDocumentsResponse(deleted_count=1)
    assert (await caller.call("delete_documents", ["d1"], collection="notes")).deleted_count == 1
    assert gateway.received[0].request.collection_id == "notes"


async def test_ids_of_a_dry_run_travel_where_an_older_gateway_does_not_look(
    caller: Caller, gateway: FakeGateway
) -> None:
    """It would not see that it is one, and delete them; without ids it refuses."""
    gateway.answers["DeleteDocuments"] = gateway_pb2.DeleteDocumentsResponse(deleted_count=1)
    await caller.call("delete_documents", ["d1"], dry_run=True)
    request = gateway.received[0].request
    assert request.dry_run
    assert (list(request.document_ids), list(request.dry_run_ids)) == ([], ["d1"])


async def test_list_collections(caller: Caller, gateway: FakeGateway) -> None:
    collection = collection_pb2.Collection(
        collection_id="documents",
        document_count=12,
        embedding_model="wordllama",
        dimensions=256,
        metric=document_pb2.SIMILARITY_METRIC_COSINE,
    )
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse(collections=[collection])
    assert await caller.call("list_collections") == (
        Collection(
            collection_id="documents",
            document_count=12,
            embedding_model="wordllama",
            dimensions=256,
            metric=SimilarityMetric.COSINE,
        ),
    )


async def test_reread_tenant(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["RereadTenant"] = gateway_pb2.RereadTenantResponse(policy_version="v1")
    assert await caller.call("reread_tenant", tenant="tenant_a") == "v1"
    request = gateway.received[0].request
    assert isinstance(request, gateway_pb2.RereadTenantRequest)
    assert request.tenant_id == "tenant_a"


async def test_list_labels(caller: Caller, gateway: FakeGateway) -> None:
    label = label_pb2.Label(
        tenant_id="tenant_a",
        sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL,
        topics=["rag"],
        attributes={"owner": value_pb2.Value(string_value="alice")},
    )
    count = label_count_pb2.LabelCount(collection_id="documents", label=label, document_count=3)
    gateway.answers["ListLabels"] = gateway_pb2.ListLabelsResponse(labels=[count], next_page_token="documents:ab")
    page = await caller.call("list_labels", tenant="tenant_a", page_size=1, page_token="documents:aa")
    assert page.next_page_token == "documents:ab"
    assert page.labels == (
        LabelCount(
            collection_id="documents",
            tenant_id="tenant_a",
            sensitivity=Sensitivity.INTERNAL,
            topics=("rag",),
            attributes={"owner": "alice"},
            document_count=3,
        ),
    )
    request = gateway.received[0].request
    assert (request.tenant_id, request.page_size, request.page_token) == ("tenant_a", 1, "documents:aa")


@pytest.mark.parametrize(
    ("method", "arguments"), [("count_documents", {}), ("list_document_ids", {"filter": equals("page", 1)})]
)
async def test_a_gateway_that_is_too_old_to_look_at_a_filter_is_told(
    caller: Caller, gateway: FakeGateway, method: str, arguments: dict[str, Any]
) -> None:
    """It leaves both the filter and the count alone: all ids come, and none of them counted."""
    gateway.answers["ListDocumentIds"] = gateway_pb2.ListDocumentIdsResponse(document_ids=["b", "c"])
    with pytest.raises(VecSecError, match="the gateway is older than this client") as caught:
        await caller.call(method, **arguments)
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert gateway.received[0].request.include_count
    gateway.answers["ListDocumentIds"] = gateway_pb2.ListDocumentIdsResponse(document_count=0)
    await caller.call(method, **arguments)


async def test_list_document_ids(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["ListDocumentIds"] = gateway_pb2.ListDocumentIdsResponse(
        document_ids=["b", "c"], next_page_token="c"
    )
    page = await caller.call("list_document_ids", tenant="tenant_a", collection="notes", page_size=2, page_token="a")
    assert (page.document_ids, page.next_page_token) == (("b", "c"), "c")
    request = gateway.received[0].request
    assert (request.tenant_id, request.collection_id) == ("tenant_a", "notes")
    assert (request.page_size, request.page_token) == (2, "a")


async def test_export_documents(caller: Caller, gateway: FakeGateway) -> None:
    document = document_pb2.Document(document_id="a", embedding=[-0.0, 1e-45], label=DOCUMENT.label)
    gateway.answers["ExportDocuments"] = gateway_pb2.ExportDocumentsResponse(
        moment="m",
        collection_id="notes",
        embedding_model="external",
        documents=[document],
        next_page_token="notes:a",
    )
    page = await caller.call("export_documents", tenant="tenant_a", moment="m", page_token="notes:0")
    assert (page.moment, page.next_page_token) == ("m", "notes:a")
    assert (page.collection_id, page.embedding_model) == ("notes", "external")
    assert [str(number) for number in page.documents[0].embedding] == ["-0.0", "1.401298464324817e-45"]
    request = gateway.received[0].request
    assert (request.tenant_id, request.moment, request.page_token) == ("tenant_a", "m", "notes:0")


async def test_explain_access(caller: Caller, gateway: FakeGateway) -> None:
    rule = policy_pb2.DeterminingRule(rule_id="read.own", description="own rows", text="permit(…);")
    explanation = policy_pb2.ExplainAccessResponse(
        decision=access_pb2.DECISION_ALLOW, incident_id="i1", policy_version="abc", determining_rules=[rule]
    )
    gateway.answers["ExplainAccess"] = gateway_pb2.ExplainAccessResponse(explanation=explanation)
    answer = await caller.call(
        "explain_access", sensitivity="SECRET", topics=["finance"], action="delete", attributes={"regions": ["eu"]}
    )
    request = gateway.received[0].request
    assert request.action == access_pb2.ACTION_DELETE
    assert request.label.tenant_id == "tenant_a"
    assert request.label.sensitivity == sensitivity_pb2.SENSITIVITY_SECRET
    assert list(request.label.attributes["regions"].string_list_value.values) == ["eu"]
    assert answer.allowed
    assert answer.determining_rules == (DeterminingRule(rule_id="read.own", description="own rows", text="permit(…);"),)


async def test_anything_but_an_allowance_is_not_allowed(caller: Caller, gateway: FakeGateway) -> None:
    gateway.answers["ExplainAccess"] = gateway_pb2.ExplainAccessResponse()
    assert not (await caller.call("explain_access", sensitivity="PUBLIC", topics=["a"])).allowed


async def test_count_violations(caller: Caller, gateway: FakeGateway) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    since = Timestamp()
    since.FromDatetime(moment)
    count = policy_pb2.ViolationCount(violation_type=access_pb2.VIOLATION_TYPE_TOPIC_VIOLATION, count=4)
    counts = policy_pb2.CountViolationsResponse(
        violations=[count], denied_count=2, since_time=since, policy_version="v1"
    )
    gateway.answers["CountViolations"] = gateway_pb2.CountViolationsResponse(counts=counts)
    answer = await caller.call("count_violations")
    assert answer.counts["topic_violation"] == 4
    assert answer.counts["cross_tenant_violation"] == 0
    assert (answer.denied_count, answer.since, answer.policy_version) == (2, moment, "v1")


async def test_every_call_carries_token_request_id_and_deadline(make_caller: MakeCaller, gateway: FakeGateway) -> None:
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse()
    await make_caller(timeout=50).call("list_collections")
    await make_caller(timeout=50).call("list_collections", timeout=20)
    first, second = gateway.received
    assert first.metadata["authorization"] == "Bearer t0ken"
    assert len(first.metadata["x-request-id"]) == 32
    assert first.metadata["x-request-id"] != second.metadata["x-request-id"]
    assert first.time_remaining is not None
    assert second.time_remaining is not None
    assert 20.1 < first.time_remaining < 50.1  # gRPC rounds up a little on the way
    assert 1.0 < second.time_remaining < 20.1


async def test_the_tenant_is_never_guessed(make_caller: MakeCaller, gateway: FakeGateway) -> None:
    with pytest.raises(InvalidArgument, match="tenant_id"):
        await make_caller(default_tenant=None).call("search", "x")
    assert gateway.received == []


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén"])
async def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(
    make_caller: MakeCaller, gateway: FakeGateway, token: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await make_caller(token=token).call("list_collections")
    assert not token or token not in str(caught.value)
    assert gateway.received == []


@pytest.mark.parametrize(
    ("method", "arguments", "keywords", "field"),
    [
        ("search", ["x"], {"k": 1 << 40}, "k"),
        ("search", ["x"], {"k": "ten"}, "k"),
        ("search", ["\ud800"], {}, "query.text"),
        ("search", [["a"]], {}, "query.vector.values"),
        ("search", ["x"], {"allow_mock": "none"}, "allow_mock"),
        ("search", ["x"], {"filter": {"$or": []}}, "filter"),
        ("search", ["x"], {"filter": all_of(equals("key", object()))}, "filter.all_of.filters[0]"),  # type: ignore[arg-type]
        ("search", ["x"], {"filter": at_least("key", "a")}, "filter"),  # type: ignore[arg-type]
        ("get_documents", ["d1"], {}, "document_ids"),
        ("get_documents", [[1]], {}, "document_ids"),
        ("explain_access", [], {"sensitivity": "TOP", "topics": ["a"]}, "label.sensitivity"),
        ("explain_access", [], {"sensitivity": "SECRET", "topics": ["a"], "action": "own"}, "action"),
        ("list_collections", [], {"timeout": 0}, "timeout"),
        ("list_collections", [], {"timeout": float("nan")}, "timeout"),
    ],
)
async def test_what_cannot_be_sent_names_its_field(
    caller: Caller, gateway: FakeGateway, method: str, arguments: list[Any], keywords: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await caller.call(method, *arguments, **keywords)
    assert caught.value.violations[0].field == field
    assert gateway.received == []


async def test_a_runaway_filter_is_an_error_not_a_crash(caller: Caller) -> None:
    nested: Any = equals("a", 1)
    for _ in range(5000):
        nested = all_of(nested)
    with pytest.raises(InvalidArgument, match="nested"):
        await caller.call("search", "x", filter=nested)


async def test_policy_status(caller: Caller, gateway: FakeGateway) -> None:
    loaded = Timestamp()
    loaded.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    status = policy_pb2.GetPolicyStatusResponse(
        policy_version="v1",
        load_time=loaded,
        candidate_version="v2",
        shadow_share=0.5,
        disagreements=policy_pb2.ShadowDisagreements(entries_gained=1, entries_lost=2, rows_gained=3, rows_lost=4),
        is_reload_failing=True,
    )
    gateway.answers["GetPolicyStatus"] = gateway_pb2.GetPolicyStatusResponse(status=status)
    answer = await caller.call("policy_status")
    assert (answer.policy_version, answer.candidate_version, answer.shadow_share) == ("v1", "v2", 0.5)
    assert answer.loaded == datetime(2026, 1, 2, tzinfo=UTC)
    assert answer.disagreements == ShadowDisagreements(entries_gained=1, entries_lost=2, rows_gained=3, rows_lost=4)
    assert (answer.is_promoted, answer.is_reload_failing) == (False, True)


async def test_list_violations(caller: Caller, gateway: FakeGateway) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    when = Timestamp()
    when.FromDatetime(moment)
    violation = policy_pb2.Violation(
        violation_type=access_pb2.VIOLATION_TYPE_TOPIC_VIOLATION,
        count=4,
        time=when,
        incident_id="i",
        subject="alice",
        requested_tenant_id="tenant_b",
        action=access_pb2.ACTION_DELETE,
    )
    listing = policy_pb2.ListViolationsResponse(violations=[violation], next_page_token="t", has_more=True)
    gateway.answers["ListViolations"] = gateway_pb2.ListViolationsResponse(listing=listing)
    page = await caller.call(
        "list_violations", types=["topic_violation"], start=moment, end=moment, page_size=7, page_token="before"
    )
    [found] = page.violations
    assert (found.violation_type, found.count, found.time, found.action) == ("topic_violation", 4, moment, "delete")
    assert (page.next_page_token, page.has_more) == ("t", True)
    request = gateway.received[0].request
    assert list(request.violation_types) == [access_pb2.VIOLATION_TYPE_TOPIC_VIOLATION]
    assert (request.start_time, request.end_time) == (when, when)
    assert (request.page_size, request.page_token, request.newest_first) == (7, "before", False)
    with pytest.raises(InvalidArgument, match="violation_types"):
        await caller.call("list_violations", types=["no_such"])


async def test_list_foreign_access(caller: Caller, gateway: FakeGateway) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    when = Timestamp()
    when.FromDatetime(moment)
    access = policy_pb2.ForeignAccess(
        kind="use",
        time=when,
        caller_tenant_id="tenant_b",
        subject="eve",
        role="admin",
        action=access_pb2.ACTION_READ,
        call_count=200,
        row_count=400,
        incident_id="i",
        policy_version="v1",
    )
    listing = policy_pb2.ListForeignAccessResponse(
        accesses=[access], next_page_token="t", has_more=True, since_time=when, replica_id="replica-1"
    )
    gateway.answers["ListForeignAccess"] = gateway_pb2.ListForeignAccessResponse(listing=listing)
    page = await caller.call(
        "list_foreign_access", start=moment, end=moment, page_size=7, page_token="before", newest_first=True
    )
    [found] = page.accesses
    assert (found.kind, found.caller_tenant_id, found.subject, found.role) == ("use", "tenant_b", "eve", "admin")
    assert (found.action, found.call_count, found.row_count, found.time) == ("read", 200, 400, moment)
    assert (page.next_page_token, page.has_more, page.since, page.replica_id) == ("t", True, moment, "replica-1")
    request = gateway.received[0].request
    assert (request.start_time, request.end_time) == (when, when)
    assert (request.page_size, request.page_token, request.newest_first) == (7, "before", True)
