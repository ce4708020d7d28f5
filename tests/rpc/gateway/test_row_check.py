"""No row leaves the gateway that the policy service has not let through."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from support.gateway_calls import bearer, ids, search
from support.gateway_peers import GatewayWithPeers, refusing, row
from support.refusals import refusal

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2, document_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import InvalidRequest, RetrievalUnavailable


async def test_withheld_rows_are_dropped_and_said_to_the_log_alone(gateway: GatewayWithPeers) -> None:
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
    gateway: GatewayWithPeers, suspect: document_pb2.ScoredDocument
) -> None:
    gateway.retrieval.rows = [row("fine"), suspect]
    assert ids(await search(gateway)) == ["fine"]


@pytest.mark.parametrize("verdicts", [0, 1, 3])
async def test_any_other_number_of_verdicts_than_of_labels_gives_no_rows(
    gateway: GatewayWithPeers, verdicts: int
) -> None:
    gateway.retrieval.rows = [row("first"), row("second", sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL)]

    async def script(_request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
        allow = policy_pb2.Verdict(decision=access_pb2.DECISION_ALLOW)
        return policy_pb2.CheckDocumentsResponse(verdicts=[allow] * verdicts, policy_version="v1")

    gateway.policy.scripts["CheckDocuments"] = script
    assert (await refusal(search(gateway))).reason == "INTERNAL"


async def test_an_unspecified_verdict_is_a_no(gateway: GatewayWithPeers) -> None:
    async def script(request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
        return policy_pb2.CheckDocumentsResponse(verdicts=[policy_pb2.Verdict() for _ in request.labels])

    gateway.policy.scripts["CheckDocuments"] = script
    assert ids(await search(gateway)) == []


async def test_retrieval_cannot_send_more_rows_than_asked_for(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.rows = [row(f"row-{number}") for number in range(50)]
    assert len(ids(await search(gateway, k=3))) == 3


async def test_a_document_that_nobody_asked_for_is_withheld(gateway: GatewayWithPeers) -> None:
    request = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["first"])
    answer = await gateway.stub.GetDocuments(request, metadata=bearer(gateway))
    assert [document.document_id for document in answer.documents] == ["first"]


async def test_mock_rows_are_checked_too(gateway: GatewayWithPeers) -> None:
    async def withhold_all(request: Any, _context: Any) -> policy_pb2.CheckDocumentsResponse:
        no = policy_pb2.Verdict(decision=access_pb2.DECISION_WITHHOLD)
        return policy_pb2.CheckDocumentsResponse(verdicts=[no for _ in request.labels])

    gateway.policy.scripts["CheckDocuments"] = withhold_all
    gateway.retrieval.scripts["SearchDocuments"] = refusing(RetrievalUnavailable("store lost"))
    assert ids(await search(gateway)) == []


async def test_a_label_that_breaks_the_contract_gives_no_rows_and_does_not_blame_the_caller(
    gateway: GatewayWithPeers,
) -> None:
    gateway.policy.scripts["CheckDocuments"] = refusing(InvalidRequest.of("labels[0].topics", "too many"))
    refused = await refusal(search(gateway))
    assert (refused.reason, refused.fields) == ("INTERNAL", ())
