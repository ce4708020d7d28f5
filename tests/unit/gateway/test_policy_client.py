"""What the gateway asks the policy service about rows: each label once, whichever objects the rows bear."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from opentelemetry.trace import NoOpTracer

from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2
from vecsec_chassis.access import Action, Identity
from vecsec_chassis.calls import Call, enter
from vecsec_chassis.labels import Label, Sensitivity
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.lane_channel import LaneChannel
from vecsec_gateway.policy_client import PolicyClient


class Channel:
    """Allows what is public, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[policy_pb2.CheckDocumentsRequest] = []

    def as_channel(self) -> "Channel":
        return self

    def unary_unary(self, *_method: Any, **_options: Any) -> Callable[..., Awaitable[Any]]:
        async def call(request: policy_pb2.CheckDocumentsRequest, **_call: Any) -> policy_pb2.CheckDocumentsResponse:
            self.asked.append(request)
            decisions = [
                access_pb2.DECISION_ALLOW if label.sensitivity == Sensitivity.PUBLIC else access_pb2.DECISION_WITHHOLD
                for label in request.labels
            ]
            verdicts = [policy_pb2.Verdict(decision=decision) for decision in decisions]
            return policy_pb2.CheckDocumentsResponse(verdicts=verdicts, policy_version="v1")

        return call


@pytest.mark.parametrize("shared", [True, False])
async def test_each_label_is_asked_about_once_with_its_rows(shared: bool) -> None:
    identity = Identity(
        subject="alice",
        tenant_id="tenant_a",
        role="analyst",
        clearance=Sensitivity.INTERNAL,
        issuer="issuer",
        expires_at=2e9,
    )
    enter(Call("/m", "request-1", None, identity=identity, token="t"))
    channel = Channel()
    objects: dict[Sensitivity, Label] = {}

    def label(sensitivity: Sensitivity) -> Label:
        made = Label("tenant_a", sensitivity, frozenset({"rag"}))
        return objects.setdefault(sensitivity, made) if shared else made

    levels = [Sensitivity.PUBLIC, Sensitivity.SECRET] * 400 + [Sensitivity.PUBLIC]
    client = PolicyClient(cast("LaneChannel", channel), NoOpTracer())
    labels = [label(level) for level in levels]
    verdicts = await client.check("tenant_a", Action.READ, labels, "v1", Deadline.after(5))
    assert verdicts.allowed == tuple(level is Sensitivity.PUBLIC for level in levels)
    [asked] = channel.asked
    assert [each.sensitivity for each in asked.labels] == [Sensitivity.PUBLIC, Sensitivity.SECRET]
    assert list(asked.row_counts) == [401, 400]
