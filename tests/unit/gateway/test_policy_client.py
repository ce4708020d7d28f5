"""What the gateway asks the policy service about rows: each label once, whichever objects the rows bear."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from opentelemetry.metrics import NoOpMeter
from opentelemetry.trace import NoOpTracer

from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2, document_pb2
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_chassis.rpc.wire import label_to_proto
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import CallContext, Plan, Provenance
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import FoundDocument, found_rows
from vecsec_gateway.transport.lane_channel import LaneChannel
from vecsec_gateway.use_cases.planning import keep_allowed

PUBLIC, SECRET = Sensitivity.PUBLIC, Sensitivity.SECRET


class Channel:
    """Allows what is public, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[policy_pb2.CheckDocumentsRequest] = []
        self.authorizations: list[str] = []

    def as_channel(self) -> "Channel":
        return self

    def unary_unary(self, *_method: Any, **_options: Any) -> Callable[..., Awaitable[Any]]:
        async def answer(request: policy_pb2.CheckDocumentsRequest, **call: Any) -> policy_pb2.CheckDocumentsResponse:
            self.asked.append(request)
            self.authorizations.append(dict(call["metadata"])["authorization"])
            decisions = [
                access_pb2.DECISION_ALLOW if label.sensitivity == Sensitivity.PUBLIC else access_pb2.DECISION_WITHHOLD
                for label in request.labels
            ]
            verdicts = [policy_pb2.Verdict(decision=decision) for decision in decisions]
            return policy_pb2.CheckDocumentsResponse(verdicts=verdicts, policy_version="v1")

        return answer


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param([PUBLIC, SECRET] * 400 + [PUBLIC], id="in turns"),
        pytest.param([PUBLIC] * 401 + [SECRET] * 400, id="in runs"),
    ],
)
async def test_each_label_is_asked_about_once_with_its_rows(levels: list[Sensitivity]) -> None:
    channel = Channel()
    client = PolicyClient(
        cast("LaneChannel", channel),
        NoOpTracer(),
        attempts=1,
        timeout_seconds=5,
        metrics=GatewayMetrics(NoOpMeter("test")),
    )
    documents = [
        document_pb2.Document(
            document_id=f"d{number}",
            label=label_to_proto(Label("tenant_a", level, frozenset({"rag"}))),
        )
        for number, level in enumerate(levels)
    ]
    found = await found_rows(FoundDocument(document, 0.5, Provenance.REAL) for document in documents)
    plan = Plan(tenant_id="tenant_a", grant="g", lifetime=60, policy_version="v1", topics=())
    answer = await keep_allowed(client, CallContext("token", Deadline.after(5)), plan, found)
    assert [row.document_id for row in answer.rows] == [
        f"d{number}" for number, level in enumerate(levels) if level is PUBLIC
    ]
    [asked] = channel.asked
    assert [each.sensitivity for each in asked.labels] == [PUBLIC, SECRET]
    assert list(asked.row_counts) == [401, 400]
    assert channel.authorizations == ["Bearer token"]
