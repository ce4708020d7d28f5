"""The policy service over gRPC. The caller's own token goes along: the policy service trusts nobody's word for it."""

import time
from collections.abc import Sequence

import grpc
from opentelemetry.trace import Tracer

from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from vecsec.type.v1 import access_pb2
from vecsec_chassis.access import Action
from vecsec_chassis.calls import current_token
from vecsec_chassis.errors import InvalidRequest, VecSecError
from vecsec_chassis.labels import Label, told_apart
from vecsec_chassis.wire import action_to_proto, label_message, label_to_proto
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.lane_channel import LaneChannel
from vecsec_gateway.peer_call import Request, Response, call_unary
from vecsec_gateway.peer_errors import policy_error
from vecsec_gateway.peers import Plan, Verdicts, ViolationQuestion


class PolicyClient:
    """A policy peer that tries once."""

    def __init__(self, channel: LaneChannel, tracer: Tracer) -> None:
        self._stub = PolicyServiceStub(channel.as_channel())
        self._tracer = tracer

    async def plan(self, tenant_id: str, action: Action, deadline: Deadline) -> Plan:
        """Which rows the caller could touch."""
        request = policy_pb2.PlanAccessRequest(tenant_id=tenant_id, action=action_to_proto(action))
        response = await self._call(self._stub.PlanAccess, "PlanAccess", request, deadline)
        return Plan(
            grant=response.grant,
            lifetime=response.expire_time.ToNanoseconds() / 1e9 - time.time(),
            policy_version=response.policy_version,
            topics=tuple(response.topics),
        )

    async def check(
        self,
        tenant_id: str,
        action: Action,
        labels: Sequence[Label],
        planned_policy_version: str,
        deadline: Deadline,
    ) -> Verdicts:
        """A verdict on each label; anything but a plain ALLOW is a no.

        Raises:
            VecSecError: if the labels break the contract's rules, for then it was not the caller who wrote them, or if
                there is not one verdict a label.
        """
        distinct, places = told_apart(labels)  # few labels, many rows
        row_counts = [0] * len(distinct)
        for place in places:
            row_counts[place] += 1
        request = policy_pb2.CheckDocumentsRequest(
            tenant_id=tenant_id,
            action=action_to_proto(action),
            labels=[label_message(label) for label in distinct],
            row_counts=row_counts,
            planned_policy_version=planned_policy_version,
        )
        try:
            response = await self._call(self._stub.CheckDocuments, "CheckDocuments", request, deadline)
        except InvalidRequest as error:
            raise VecSecError("internal error: rows could not be checked", detail=error.message) from error
        if len(response.verdicts) != len(distinct):
            raise VecSecError(
                "internal error: rows could not be checked",
                detail=f"the policy service gave {len(response.verdicts)} verdicts on {len(distinct)} labels",
            )
        is_allowed = [verdict.decision == access_pb2.DECISION_ALLOW for verdict in response.verdicts]
        return Verdicts(tuple([is_allowed[place] for place in places]), response.policy_version)

    async def explain(
        self, tenant_id: str, action: Action, label: Label, deadline: Deadline
    ) -> policy_pb2.ExplainAccessResponse:
        """Whether the caller may touch a row with this label, and why."""
        request = policy_pb2.ExplainAccessRequest(
            # Converted afresh: callers make this label up, and what they make up is not to be remembered.
            tenant_id=tenant_id,
            action=action_to_proto(action),
            label=label_to_proto(label),
        )
        return await self._call(self._stub.ExplainAccess, "ExplainAccess", request, deadline)

    async def count_violations(
        self, question: ViolationQuestion, deadline: Deadline
    ) -> policy_pb2.CountViolationsResponse:
        """How often the tenant's callers broke rules."""
        assert isinstance(question, policy_pb2.CountViolationsRequest), "made by the handlers"
        return await self._call(self._stub.CountViolations, "CountViolations", question, deadline)

    async def list_violations(
        self, question: ViolationQuestion, deadline: Deadline
    ) -> policy_pb2.ListViolationsResponse:
        """Which rules the tenant's callers broke."""
        assert isinstance(question, policy_pb2.ListViolationsRequest), "made by the handlers"
        return await self._call(self._stub.ListViolations, "ListViolations", question, deadline)

    async def status(self, tenant_id: str, deadline: Deadline) -> policy_pb2.GetPolicyStatusResponse:
        """Which policy decides over a tenant's rows."""
        request = policy_pb2.GetPolicyStatusRequest(tenant_id=tenant_id)
        return await self._call(self._stub.GetPolicyStatus, "GetPolicyStatus", request, deadline)

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        name: str,
        request: Request,
        deadline: Deadline,
    ) -> Response:
        try:
            return await call_unary(
                method,
                f"vecsec.policy.v1.PolicyService/{name}",
                request,
                deadline=deadline,
                tracer=self._tracer,
                metadata=(("authorization", f"Bearer {current_token()}"),),
            )
        except grpc.aio.AioRpcError as error:
            raise policy_error(error) from error
