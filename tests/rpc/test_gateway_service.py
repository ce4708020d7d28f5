"""The gateway in its production wiring, between peers that fail in every way the real ones should not."""

import asyncio
import json
import re
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refuse, refusing, row
from support.refusals import refusal
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import access_pb2, document_pb2, label_pb2, query_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import (
    AccessDenied,
    CollectionNotFound,
    InvalidGrant,
    InvalidRequest,
    InvalidToken,
    LimitExceeded,
    RealRetrievalOff,
    RetrievalUnavailable,
    ShuttingDown,
    StoreDamaged,
    UnknownTenant,
    VecSecError,
)

NONE = gateway_pb2.FALLBACK_NONE
PATIENCE_SECONDS = 60


@pytest.fixture(params=[pytest.param(0, id="calls"), pytest.param(2, id="lanes")])
async def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[GatewayWithPeers]:
    """Calls to the peers go by themselves or over lanes; nothing that a caller sees depends on it."""
    async with gateway_with_peers(tmp_path, lanes=request.param) as running:
        yield running


def bearer(gateway: GatewayWithPeers) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {gateway.issuer.token()}"),)


async def search(
    gateway: GatewayWithPeers,
    *,
    timeout: float | None = PATIENCE_SECONDS,
    extra: tuple[tuple[str, str], ...] = (),
    **fields: Any,
) -> gateway_pb2.SearchDocumentsResponse:
    request = gateway_pb2.SearchDocumentsRequest(
        **{"tenant_id": "tenant_a", "query": query_pb2.Query(text="what"), "k": 3, **fields}
    )
    return await gateway.stub.SearchDocuments(request, metadata=bearer(gateway) + extra, timeout=timeout)


def ids(answer: gateway_pb2.SearchDocumentsResponse) -> list[str]:
    return [result.document.document_id for result in answer.results]


def metrics(gateway: GatewayWithPeers) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.service.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


async def hang(_request: Any, _context: Any) -> None:
    await asyncio.sleep(60)


def unavailable_times(count: int, answer: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    """Unavailable that many times, then an answer."""
    left = count

    async def script(_request: Any, context: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone for a moment")
        return answer

    return script


class TestAnswers:
    async def test_a_search_plans_retrieves_and_checks(self, gateway: GatewayWithPeers) -> None:
        answer = await search(gateway, extra=(("x-request-id", "my-request"),))
        assert ids(answer) == ["first", "second"]
        assert answer.provenance == document_pb2.PROVENANCE_REAL
        assert {result.provenance for result in answer.results} == {document_pb2.PROVENANCE_REAL}
        assert answer.mock_reason == gateway_pb2.MOCK_REASON_UNSPECIFIED
        assert (answer.policy_version, answer.request_id) == ("v1", "my-request")
        assert gateway.policy.calls == {"PlanAccess": 1, "CheckDocuments": 1}
        assert gateway.retrieval.grants == ["grant 1"]

    async def test_the_token_goes_to_policy_only_and_the_request_id_to_both(self, gateway: GatewayWithPeers) -> None:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        trace_parent = f"00-{trace_id}-00f067aa0ba902b7-01"
        await search(gateway, extra=(("x-request-id", "my-request"), ("traceparent", trace_parent)))
        assert all(each["authorization"].startswith("Bearer ey") for each in gateway.policy.metadata)
        assert "authorization" not in gateway.retrieval.metadata[0]
        for each in (*gateway.policy.metadata, *gateway.retrieval.metadata):
            assert each["x-request-id"] == "my-request"
            assert each["traceparent"].split("-")[1] == trace_id

    async def test_spoofed_metadata_changes_nothing(self, gateway: GatewayWithPeers) -> None:
        spoofed = (("x-tenant-id", "tenant_b"), ("x-role", "admin"), ("x-clearance", "SECRET"), ("grant", "mine"))
        assert ids(await search(gateway, extra=spoofed)) == ["first", "second"]
        for each in (*gateway.policy.metadata, *gateway.retrieval.metadata):
            assert not {"x-tenant-id", "x-role", "x-clearance", "grant"} & set(each)

    async def test_the_deadline_goes_along_with_something_kept_for_the_check(self, gateway: GatewayWithPeers) -> None:
        await search(gateway, timeout=20)
        (retrieval_seconds,) = gateway.retrieval.seconds_left
        assert retrieval_seconds is not None
        # gRPC rounds deadlines of ten seconds and more up to the next tenth, at each of two hops.
        assert retrieval_seconds <= 19.2
        assert all(seconds is not None and seconds <= 20.2 for seconds in gateway.policy.seconds_left)

    async def test_without_a_deadline_there_is_a_default_one(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, VECSEC_DEFAULT_DEADLINE_SECONDS=0.5) as gateway:
            gateway.policy.scripts["PlanAccess"] = hang
            async with asyncio.timeout(PATIENCE_SECONDS):
                refused = await refusal(search(gateway, timeout=None))
            assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_other_calls_pass_through(self, gateway: GatewayWithPeers) -> None:
        metadata = bearer(gateway)
        got = await gateway.stub.GetDocuments(
            gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["second", "absent", "first"]),
            metadata=metadata,
        )
        assert [document.document_id for document in got.documents] == ["first", "second"]
        deleted = await gateway.stub.DeleteDocuments(
            gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["first"]), metadata=metadata
        )
        assert deleted.deleted_count == 1
        listed = await gateway.stub.ListCollections(
            gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=metadata
        )
        assert [collection.collection_id for collection in listed.collections] == ["documents"]
        label = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"])
        explained = await gateway.stub.ExplainAccess(
            gateway_pb2.ExplainAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=label),
            metadata=metadata,
        )
        assert explained.explanation.incident_id == "incident 1"
        counted = await gateway.stub.CountViolations(
            gateway_pb2.CountViolationsRequest(tenant_id="tenant_a"), metadata=metadata
        )
        assert counted.counts.denied_count == 7

    async def test_no_token_no_call(self, gateway: GatewayWithPeers) -> None:
        request = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a", query=query_pb2.Query(text="x"), k=1)
        refused = await refusal(gateway.stub.SearchDocuments(request, metadata=(("x-tenant-id", "tenant_a"),)))
        assert refused.reason == "INVALID_TOKEN"
        assert not gateway.policy.calls
        assert not gateway.retrieval.calls


class TestCheck:
    async def test_withheld_rows_are_dropped_and_said_to_the_log_alone(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.rows = [row("fine"), row("secret", sensitivity=sensitivity_pb2.SENSITIVITY_SECRET)]
        with capture_logs() as logs:
            answer = await search(gateway)
        assert ids(answer) == ["fine"]
        assert "secret" not in str(answer)
        withheld = next(line for line in logs if line["event"] == "rows withheld")
        assert (withheld["withheld"], withheld["withheld_by_policy"]) == (1, 1)

    @pytest.mark.parametrize(
        "suspect",
        [
            row("foreign", tenant_id="tenant_b"),
            row("untagged", tenant_id=""),
            row("mock-1"),
            row("mocked", provenance=document_pb2.PROVENANCE_MOCK),
            row("unsaid", provenance=document_pb2.PROVENANCE_UNSPECIFIED),
        ],
        ids=lambda each: each.document.document_id,
    )
    async def test_a_suspect_row_is_withheld_even_if_the_policy_allows_it(
        self, gateway: GatewayWithPeers, suspect: document_pb2.ScoredDocument
    ) -> None:
        gateway.retrieval.rows = [row("fine"), suspect]
        assert ids(await search(gateway)) == ["fine"]

    @pytest.mark.parametrize("verdicts", [0, 1, 3])
    async def test_any_other_number_of_verdicts_than_of_labels_gives_no_rows(
        self, gateway: GatewayWithPeers, verdicts: int
    ) -> None:
        gateway.retrieval.rows = [row("first"), row("second", sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL)]

        async def script(_request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
            allow = policy_pb2.Verdict(decision=access_pb2.DECISION_ALLOW)
            return policy_pb2.CheckDocumentsResponse(verdicts=[allow] * verdicts, policy_version="v1")

        gateway.policy.scripts["CheckDocuments"] = script
        assert (await refusal(search(gateway))).reason == "INTERNAL"

    async def test_an_unspecified_verdict_is_a_no(self, gateway: GatewayWithPeers) -> None:
        async def script(request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
            return policy_pb2.CheckDocumentsResponse(verdicts=[policy_pb2.Verdict() for _ in request.labels])

        gateway.policy.scripts["CheckDocuments"] = script
        assert ids(await search(gateway)) == []

    async def test_retrieval_cannot_send_more_rows_than_asked_for(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.rows = [row(f"row-{number}") for number in range(50)]
        assert len(ids(await search(gateway, k=3))) == 3

    async def test_a_document_that_nobody_asked_for_is_withheld(self, gateway: GatewayWithPeers) -> None:
        request = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["first"])
        answer = await gateway.stub.GetDocuments(request, metadata=bearer(gateway))
        assert [document.document_id for document in answer.documents] == ["first"]

    async def test_mock_rows_are_checked_too(self, gateway: GatewayWithPeers) -> None:
        async def withhold_all(request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
            no = policy_pb2.Verdict(decision=access_pb2.DECISION_WITHHOLD)
            return policy_pb2.CheckDocumentsResponse(verdicts=[no for _ in request.labels])

        gateway.policy.scripts["CheckDocuments"] = withhold_all
        gateway.retrieval.scripts["SearchDocuments"] = refusing(RetrievalUnavailable("store lost"))
        assert ids(await search(gateway)) == []

    async def test_a_label_that_breaks_the_contract_gives_no_rows_and_does_not_blame_the_caller(
        self, gateway: GatewayWithPeers
    ) -> None:
        gateway.policy.scripts["CheckDocuments"] = refusing(InvalidRequest.of("labels[0].topics", "too many"))
        refused = await refusal(search(gateway))
        assert (refused.reason, refused.fields) == ("INTERNAL", ())


class TestPolicyTrouble:
    @pytest.mark.parametrize("method", ["PlanAccess", "CheckDocuments"])
    @pytest.mark.parametrize("fallback", [gateway_pb2.FALLBACK_MOCK, NONE])
    async def test_policy_down_means_no_rows_and_no_mock(
        self, gateway: GatewayWithPeers, method: str, fallback: gateway_pb2.Fallback.ValueType
    ) -> None:
        gateway.policy.scripts[method] = unavailable_times(99, None)
        refused = await refusal(search(gateway, fallback=fallback))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "POLICY_UNAVAILABLE")
        assert refused.retry_seconds is not None
        assert gateway.policy.calls[method] == 3
        assert not any(value for series, value in metrics(gateway).items() if series.startswith("vecsec_mock_fallback"))

    async def test_policy_stopped_altogether(self, gateway: GatewayWithPeers) -> None:
        await gateway.policy_server.stop(0)
        refused = await refusal(search(gateway))
        assert refused.reason == "POLICY_UNAVAILABLE"
        assert not gateway.retrieval.calls

    @pytest.mark.parametrize("method", ["PlanAccess", "CheckDocuments"])
    async def test_a_slow_policy_is_the_same_and_is_not_asked_again(self, tmp_path: Path, method: str) -> None:
        async with gateway_with_peers(tmp_path, VECSEC_POLICY_TIMEOUT_SECONDS=1) as gateway:
            gateway.policy.scripts[method] = hang
            assert (await refusal(search(gateway))).reason == "POLICY_UNAVAILABLE"
            assert gateway.policy.calls[method] == 1

    async def test_a_passing_trouble_is_not_seen_by_the_caller(self, gateway: GatewayWithPeers) -> None:
        plan = policy_pb2.PlanAccessResponse(grant="late grant", policy_version="v1")
        gateway.policy.scripts["PlanAccess"] = unavailable_times(2, plan)
        assert ids(await search(gateway)) == ["first", "second"]
        assert gateway.retrieval.grants == ["late grant"]
        assert metrics(gateway)["vecsec_policy_retries_total"] == 2

    @pytest.mark.parametrize(
        "error",
        [
            AccessDenied("the policy does not let you read tenant 'tenant_a'"),
            UnknownTenant("tenant_a"),
            InvalidToken("the token does not verify"),
            LimitExceeded("too many calls", retry_after=5),
        ],
        ids=lambda error: error.reason.value,
    )
    async def test_what_policy_refuses_is_refused_with_the_same_bytes_after_one_call(
        self, gateway: GatewayWithPeers, error: VecSecError
    ) -> None:
        from vecsec_chassis.rpc.error_status import error_status

        gateway.policy.scripts["PlanAccess"] = refusing(error)
        refused = await refusal(search(gateway))
        assert refused.details == error_status(error).SerializeToString()
        assert gateway.policy.calls == {"PlanAccess": 1}
        assert not gateway.retrieval.calls


class TestRetrievalTrouble:
    async def test_a_passing_trouble_is_not_seen_by_the_caller(self, gateway: GatewayWithPeers) -> None:
        answer = retrieval_pb2.SearchDocumentsResponse(results=[row("real")])
        gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(2, answer)
        assert ids(await search(gateway)) == ["real"]
        values = metrics(gateway)
        assert values["vecsec_retrieval_retries_total"] == 2
        assert values['vecsec_vector_retrieval_success_total{operation="search"}'] == 1

    async def test_a_lasting_one_gives_a_mock_that_says_so(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = refusing(RetrievalUnavailable("store lost"))
        with capture_logs() as logs:
            answer = await search(gateway)
        assert answer.provenance == document_pb2.PROVENANCE_MOCK
        assert answer.mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED
        assert len(answer.results) == 3
        for result in answer.results:
            assert result.provenance == document_pb2.PROVENANCE_MOCK
            assert result.document.document_id.startswith("mock-")
            assert result.document.label.tenant_id == "tenant_a"
        assert any(line["event"] == "Real vector retrieval failed, falling back to mock" for line in logs)
        values = metrics(gateway)
        assert values['vecsec_mock_fallback_total{reason="retrieval_failed"}'] == 1
        failures = 'vecsec_vector_retrieval_failures_total{operation="search",reason="RETRIEVAL_UNAVAILABLE"}'
        assert values[failures] == 1
        assert values['vecsec_vector_retrieval_duration_seconds_count{operation="search"}'] == 1

    async def test_who_wants_no_mock_is_told_when_to_come_back(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(99, None)
        refused = await refusal(search(gateway, fallback=NONE))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
        assert refused.retry_seconds is not None
        assert gateway.retrieval.calls["SearchDocuments"] == 3

    async def test_retrieval_stopped_altogether(self, gateway: GatewayWithPeers) -> None:
        await gateway.retrieval_server.stop(0)
        assert (await search(gateway)).mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED

    async def test_retrieval_shutting_down_is_a_trouble_that_passes(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = refusing(ShuttingDown("another replica will answer"))
        assert (await refusal(search(gateway, fallback=NONE))).reason == "RETRIEVAL_UNAVAILABLE"
        assert gateway.retrieval.calls["SearchDocuments"] == 3

    @pytest.mark.parametrize(
        "error",
        [
            AccessDenied("embeddings are for those who may configure"),
            CollectionNotFound("documents"),
            InvalidRequest.of("query.vector", "has 3 numbers, the collection's embeddings have 256"),
            StoreDamaged("the store of tenant 'tenant_a' cannot be read"),
            LimitExceeded("the disk is full"),
            LimitExceeded("too many searches", retry_after=30),
        ],
        ids=lambda error: f"{error.reason.value}-{error.retry_after}",
    )
    async def test_what_retrieval_refuses_is_refused_with_the_same_bytes_after_one_call(
        self, gateway: GatewayWithPeers, error: VecSecError
    ) -> None:
        from vecsec_chassis.rpc.error_status import error_status

        gateway.retrieval.scripts["SearchDocuments"] = refusing(error)
        refused = await refusal(search(gateway))
        assert refused.details == error_status(error).SerializeToString()
        assert gateway.retrieval.calls["SearchDocuments"] == 1

    async def test_a_limit_that_soon_passes_is_waited_out(self, gateway: GatewayWithPeers) -> None:
        async def script(_request: Any, context: Any) -> retrieval_pb2.SearchDocumentsResponse:
            if gateway.retrieval.calls["SearchDocuments"] == 1:
                await refuse(context, LimitExceeded("too many searches", retry_after=0.2))
            return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

        gateway.retrieval.scripts["SearchDocuments"] = script
        started = time.monotonic()
        assert ids(await search(gateway)) == ["real"]
        assert time.monotonic() - started >= 0.2

    async def test_the_deadline_bounds_the_retries_and_leaves_room_for_the_mock(
        self, gateway: GatewayWithPeers
    ) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = hang
        answer = await search(gateway, timeout=4)
        assert answer.mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED

    async def test_a_slow_try_is_given_up_and_tried_again(self, tmp_path: Path) -> None:
        async def slow_once(_request: Any, _context: Any) -> retrieval_pb2.SearchDocumentsResponse:
            if gateway.retrieval.calls["SearchDocuments"] == 1:
                await asyncio.sleep(60)
            return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

        async with gateway_with_peers(tmp_path, VECSEC_RETRIEVAL_TIMEOUT_SECONDS=1) as gateway:
            gateway.retrieval.scripts["SearchDocuments"] = slow_once
            assert ids(await search(gateway)) == ["real"]

    async def test_an_open_circuit_answers_without_asking(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=60) as gateway:
            gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(10_000, None)
            for _ in range(2):
                await search(gateway)
            asked = gateway.retrieval.calls["SearchDocuments"]
            assert asked == 5  # the threshold
            answer = await search(gateway)
            assert answer.mock_reason == gateway_pb2.MOCK_REASON_CIRCUIT_OPEN
            refused = await refusal(search(gateway, fallback=NONE))
            assert refused.reason == "RETRIEVAL_UNAVAILABLE"
            assert refused.retry_seconds is not None
            assert 0 < refused.retry_seconds <= 60
            assert gateway.retrieval.calls["SearchDocuments"] == asked
            assert metrics(gateway)["vecsec_circuits_open"] == 1

    async def test_every_call_that_retrieval_failed_is_counted_tried_or_not(self, tmp_path: Path) -> None:
        lookup = {"tenant_id": "tenant_a", "document_ids": ["first"]}
        in_tenant = {"tenant_id": "tenant_a"}
        async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600) as gateway:
            who = bearer(gateway)
            for _ in range(10):
                await search(gateway)
            await gateway.retrieval_server.stop(0)
            mocked = [(await search(gateway)).mock_reason for _ in range(20)]
            assert gateway_pb2.MOCK_REASON_UNSPECIFIED not in mocked
            assert mocked.count(gateway_pb2.MOCK_REASON_CIRCUIT_OPEN) >= 18
            stub = gateway.stub
            document = document_pb2.DocumentInput(
                document_id="a", text="a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"]
            )
            batches = iter([gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document])])

            async def store() -> None:
                async for _ in stub.ImportDocuments(batches, metadata=who):
                    pass

            unanswered = {
                "search": [search(gateway, fallback=NONE)],
                "get": [stub.GetDocuments(gateway_pb2.GetDocumentsRequest(**lookup), metadata=who)],
                "delete": [stub.DeleteDocuments(gateway_pb2.DeleteDocumentsRequest(**lookup), metadata=who)],
                "list": [
                    stub.ListCollections(gateway_pb2.ListCollectionsRequest(**in_tenant), metadata=who),
                    stub.ListLabels(gateway_pb2.ListLabelsRequest(**in_tenant), metadata=who),
                    stub.ListDocumentIds(gateway_pb2.ListDocumentIdsRequest(**in_tenant), metadata=who),
                ],
                "import": [store()],
            }
            for calls in unanswered.values():
                for call in calls:
                    assert (await refusal(call)).reason == "RETRIEVAL_UNAVAILABLE"
            failed = Counter[str]()
            for series, count in metrics(gateway).items():
                if found := re.match(r'vecsec_vector_retrieval_failures_total\{operation="(\w+)"', series):
                    failed[found[1]] += int(count)
            expected = Counter({operation: len(calls) for operation, calls in unanswered.items()})
            assert failed == expected + Counter(search=len(mocked))

    async def test_an_open_circuit_closes_again(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=0.5) as gateway:
            gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(10_000, None)
            for _ in range(2):
                await search(gateway)
            assert metrics(gateway)["vecsec_circuits_open"] == 1
            del gateway.retrieval.scripts["SearchDocuments"]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while ids(await search(gateway)) != ["first", "second"]:
                    await asyncio.sleep(0.05)
            assert metrics(gateway)["vecsec_circuits_open"] == 0

    async def test_denials_never_open_the_circuit(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = refusing(AccessDenied("no"))
        for _ in range(10):
            assert (await refusal(search(gateway))).reason == "ACCESS_DENIED"
        assert gateway.retrieval.calls["SearchDocuments"] == 10

    async def test_impatient_callers_cannot_open_the_circuit(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = hang
        answers = await asyncio.gather(*(search(gateway, timeout=0.3) for _ in range(8)), return_exceptions=True)
        assert len(answers) == 8
        del gateway.retrieval.scripts["SearchDocuments"]
        assert ids(await search(gateway)) == ["first", "second"]

    async def test_a_refused_grant_is_replaced_once(self, gateway: GatewayWithPeers) -> None:
        async def script(request: Any, context: Any) -> retrieval_pb2.SearchDocumentsResponse:
            if request.grant == "grant 1":
                await refuse(context, InvalidGrant("the grant is missing, expired or not valid; plan access again"))
            return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

        gateway.retrieval.scripts["SearchDocuments"] = script
        assert ids(await search(gateway)) == ["real"]
        assert gateway.retrieval.grants == ["grant 1", "grant 2"]

    async def test_grants_refused_twice_are_not_the_callers_fault(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = refusing(InvalidGrant("no"))
        refused = await refusal(search(gateway))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert gateway.retrieval.calls["SearchDocuments"] == 2

    async def test_garbage_is_an_internal_error_and_not_tried_again(self, gateway: GatewayWithPeers) -> None:
        async def script(_request: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what?")

        gateway.retrieval.scripts["SearchDocuments"] = script
        assert (await refusal(search(gateway))).reason == "INTERNAL"
        assert gateway.retrieval.calls["SearchDocuments"] == 1

    async def test_the_callers_cancellation_reaches_retrieval(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = hang
        call = asyncio.ensure_future(search(gateway))
        while not gateway.retrieval.calls["SearchDocuments"]:
            await asyncio.sleep(0.01)
        call.cancel()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gateway.retrieval.cancelled.wait()


class TestFlag:
    async def test_off_means_no_call_and_a_mock_that_says_why(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, USE_REAL_VECTOR_RETRIEVAL="off") as gateway:
            first, second = await search(gateway), await search(gateway)
            assert first.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
            assert first.results == second.results
            refused = await refusal(search(gateway, fallback=NONE))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF")
            assert refused.retry_seconds is not None
            request = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["first"])
            refused = await refusal(gateway.stub.GetDocuments(request, metadata=bearer(gateway)))
            assert refused.reason == "REAL_RETRIEVAL_OFF"
            assert not gateway.retrieval.calls
            assert metrics(gateway)['vecsec_mock_fallback_total{reason="flag_off"}'] == 2

    async def test_it_is_live_and_by_tenant(self, tmp_path: Path) -> None:
        def write(off: list[str]) -> None:
            flag = {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "on",
                "targeting": {"if": [{"in": [{"var": "tenant_id"}, off]}, "off"]},
            }
            (tmp_path / "flags.json").write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

        write(["tenant_b"])
        async with gateway_with_peers(tmp_path, VECSEC_FLAG_FILE=tmp_path / "flags.json") as gateway:
            assert (await search(gateway)).provenance == document_pb2.PROVENANCE_REAL
            other = await search(gateway, tenant_id="tenant_b")
            assert other.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
            write(["tenant_a"])
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await search(gateway)).provenance == document_pb2.PROVENANCE_REAL:
                    await asyncio.sleep(0.05)

    async def test_retrieval_may_see_it_first(self, gateway: GatewayWithPeers) -> None:
        gateway.retrieval.scripts["SearchDocuments"] = refusing(RealRetrievalOff("off", retry_after=30))
        assert (await search(gateway)).mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
        assert (await refusal(search(gateway, fallback=NONE))).reason == "REAL_RETRIEVAL_OFF"
        assert gateway.retrieval.calls["SearchDocuments"] == 2

    async def test_a_denial_comes_before_any_mock(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, USE_REAL_VECTOR_RETRIEVAL="off") as gateway:
            gateway.policy.scripts["PlanAccess"] = refusing(AccessDenied("no"))
            assert (await refusal(search(gateway))).reason == "ACCESS_DENIED"


class TestHealth:
    async def test_the_gateway_serves_and_tells_of_its_peers(self, tmp_path: Path) -> None:
        async with gateway_with_peers(tmp_path, VECSEC_PEER_PROBE_SECONDS=0.05) as gateway:
            health = health_pb2_grpc.HealthStub(gateway.channel)

            async def status(name: str) -> str:
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

            assert await status("") == "SERVING"
            assert await status("vecsec.gateway.v1.GatewayService") == "SERVING"
            # The stand-ins have no health service, so they do not count as serving.
            for peer in ("policy", "retrieval"):

                async def is_told(name: str = f"vecsec.gateway.{peer}") -> bool:
                    return await status(name) == "NOT_SERVING"

                await until(is_told)
            assert await status("") == "SERVING"

    async def test_the_retry_advice_is_a_duration_that_clients_understand(self, gateway: GatewayWithPeers) -> None:
        await gateway.policy_server.stop(0)
        refused = await refusal(search(gateway))
        assert refused.retry_seconds == Duration(seconds=1).seconds


class TestRememberedPlans:
    async def test_a_listing_is_planned_anew_each_time(self, gateway: GatewayWithPeers) -> None:
        """No check follows a listing, so a remembered plan would answer without the policy service."""
        for _ in range(2):
            await gateway.stub.ListCollections(
                gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=bearer(gateway)
            )
        assert gateway.policy.calls["PlanAccess"] == 2

    async def test_a_search_is_planned_once_and_checked_each_time(self, gateway: GatewayWithPeers) -> None:
        for _ in range(2):
            await search(gateway)
        assert gateway.policy.calls["PlanAccess"] == 1
        assert gateway.policy.calls["CheckDocuments"] == 2

    async def test_an_answer_without_rows_is_checked_too(self, gateway: GatewayWithPeers) -> None:
        """So that the policy service has a record of every search, and none is answered while it is down."""
        gateway.retrieval.rows = []
        await search(gateway)
        assert gateway.policy.calls["CheckDocuments"] == 1

    async def test_a_check_by_another_policy_makes_the_search_be_planned_again(self, gateway: GatewayWithPeers) -> None:
        """A remembered plan must neither keep a caller from what a new policy allows nor show what it takes away."""
        await search(gateway)
        gateway.policy.version = "v2"
        answer = await search(gateway)
        assert answer.policy_version == "v2"
        assert gateway.policy.calls["PlanAccess"] == 2
        assert gateway.retrieval.grants[-1] == "grant 2"
        await search(gateway)
        assert gateway.policy.calls["PlanAccess"] == 2, "the new plan is remembered"

    async def test_policy_replicas_that_differ_cost_one_more_round_and_no_more(self, gateway: GatewayWithPeers) -> None:
        gateway.policy.checks_by = "v2"
        answer = await search(gateway)
        assert answer.policy_version == "v2"
        assert gateway.policy.calls["PlanAccess"] == 2
        assert gateway.policy.calls["CheckDocuments"] == 2
