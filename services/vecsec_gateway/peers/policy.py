"""The policy service over gRPC: tried again while it is unavailable, and never done without.

The caller's own token goes along: the policy service trusts nobody's word for it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import grpc
from opentelemetry.trace import Tracer

from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from vecsec.type.v1 import access_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import AuditUnavailable, InvalidRequest, PolicyUnavailable, VecSecError
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.domain.tenant_limits import TenantLimits
from vecsec_chassis.rpc.wire import action_to_proto, label_to_proto, search_mode_to_proto, tenant_limits_from_proto
from vecsec_gateway.peers.call import Request, Response, RetryBudget, RetryRules, call_unary, retried
from vecsec_gateway.peers.contract import BusyHere, CallContext, LabelMessage, Plan, PolicyTimedOut, Verdicts
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.status import policy_error
from vecsec_gateway.transport.lane_channel import LaneChannel

_ELSEWHERE_AFTER_SECONDS = (0.02, 0.05, 0.1, 0.2)


class PolicyClient:
    """The policy service, to the use cases.

    Every method raises PolicyUnavailable where it does not answer in time, and the policy's own errors as they are.
    """

    def __init__(
        self,
        channel: LaneChannel,
        tracer: Tracer,
        *,
        attempts: int,
        timeout_seconds: float,
        metrics: GatewayMetrics,
        own_delay: OwnDelay | None = None,
    ) -> None:
        """`timeout_seconds` is for one try, of which there are at most `attempts`; `own_delay` tells whether it was the
        gateway that was late (None: never)."""
        self._own_delay = own_delay or OwnDelay()
        self._stub = PolicyServiceStub(channel.as_channel())
        self._tracer = tracer
        self._budget = RetryBudget(time.monotonic)
        self._timeout_seconds = timeout_seconds
        self._rules = RetryRules(attempts=attempts, may_pass=_is_transient, on_retry=metrics.policy_retried)

    async def plan(self, caller: CallContext, tenant_id: str, action: Action) -> Plan:
        """Which rows the caller could touch."""
        request = policy_pb2.PlanAccessRequest(tenant_id=tenant_id, action=action_to_proto(action))
        response = await self._call(self._stub.PlanAccess, "PlanAccess", request, caller)
        return Plan(
            tenant_id=tenant_id,
            grant=response.grant,
            lifetime=response.expire_time.ToNanoseconds() / 1e9 - time.time(),
            policy_version=response.policy_version,
            topics=tuple(response.topics),
        )

    async def check(
        self,
        caller: CallContext,
        tenant_id: str,
        action: Action,
        labels: Sequence[LabelMessage],
        row_counts: Sequence[int] = (),
        *,
        planned_policy_version: str,
        search_mode: SearchMode | None = None,
    ) -> Verdicts:
        """A verdict on each label by the policy in force now; anything but a plain ALLOW is a no. `row_counts` says how
        many rows have each label (empty: one), `search_mode` by what a search found them, for the record.

        Raises:
            VecSecError: if the labels break the contract's rules, for then it was not the caller who wrote them, or if
                there is not one verdict a label.
        """
        request = policy_pb2.CheckDocumentsRequest(
            tenant_id=tenant_id,
            action=action_to_proto(action),
            labels=labels,
            row_counts=row_counts,
            planned_policy_version=planned_policy_version,
        )
        if search_mode is not None:
            request.search_mode = search_mode_to_proto(search_mode)
        try:
            response = await self._call(self._stub.CheckDocuments, "CheckDocuments", request, caller)
        except InvalidRequest as error:
            raise VecSecError("internal error: rows could not be checked", detail=error.message) from error
        if len(response.verdicts) != len(labels):
            raise VecSecError(
                "internal error: rows could not be checked",
                detail=f"the policy service gave {len(response.verdicts)} verdicts on {len(labels)} labels",
            )
        allowed = [verdict.decision == access_pb2.DECISION_ALLOW for verdict in response.verdicts]
        return Verdicts(allowed, response.policy_version)

    async def explain(
        self, caller: CallContext, tenant_id: str, action: Action, label: Label
    ) -> policy_pb2.ExplainAccessResponse:
        """Whether the caller may touch a row with this label, and why."""
        request = policy_pb2.ExplainAccessRequest(
            tenant_id=tenant_id, action=action_to_proto(action), label=label_to_proto(label)
        )
        return await self._call(self._stub.ExplainAccess, "ExplainAccess", request, caller)

    async def count_violations(
        self, caller: CallContext, question: policy_pb2.CountViolationsRequest
    ) -> policy_pb2.CountViolationsResponse:
        """How often the tenant's callers broke rules."""
        return await self._call(self._stub.CountViolations, "CountViolations", question, caller)

    async def list_violations(
        self, caller: CallContext, question: policy_pb2.ListViolationsRequest
    ) -> policy_pb2.ListViolationsResponse:
        """Which rules the tenant's callers broke."""
        return await self._call(self._stub.ListViolations, "ListViolations", question, caller)

    async def list_foreign_access(
        self, caller: CallContext, question: policy_pb2.ListForeignAccessRequest
    ) -> policy_pb2.ListForeignAccessResponse:
        """What callers of other tenants did in the tenant."""
        return await self._call(self._stub.ListForeignAccess, "ListForeignAccess", question, caller)

    async def status(self, caller: CallContext, tenant_id: str) -> policy_pb2.GetPolicyStatusResponse:
        """Which policy decides over a tenant's rows."""
        request = policy_pb2.GetPolicyStatusRequest(tenant_id=tenant_id)
        return await self._call(self._stub.GetPolicyStatus, "GetPolicyStatus", request, caller)

    async def limits(self, caller: CallContext, tenant_id: str) -> TenantLimits:
        """What a tenant may use: the caller's own, or one that they may configure."""
        request = policy_pb2.GetTenantLimitsRequest(tenant_id=tenant_id)
        response = await self._call(self._stub.GetTenantLimits, "GetTenantLimits", request, caller)
        return tenant_limits_from_proto(response.limits)

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        name: str,
        request: Request,
        caller: CallContext,
    ) -> Response:
        metadata = (("authorization", f"Bearer {caller.token}"),)

        async def once() -> Response:
            try:
                return await call_unary(
                    method,
                    f"vecsec.policy.v1.PolicyService/{name}",
                    request,
                    seconds=min(self._timeout_seconds, caller.deadline.remaining()),
                    tracer=self._tracer,
                    metadata=metadata,
                )
            except grpc.aio.AioRpcError as error:
                meaning = policy_error(error)
                if isinstance(meaning, PolicyTimedOut) and self._own_delay.is_late:
                    raise BusyHere(meaning.detail) from error
                raise meaning from error

        try:
            return await retried(once, rules=self._rules, deadline=caller.deadline, budget=self._budget)
        except AuditUnavailable as unavailable:
            return await self._at_another(once, unavailable, caller)

    async def _at_another(
        self, once: Callable[[], Awaitable[Response]], refusal: AuditUnavailable, caller: CallContext
    ) -> Response:
        """Ask again, soon: the replica whose audit log cannot be written sends word at once that calls should go to
        others, and of those that go by themselves every other one does, if there are two."""
        for wait_seconds in _ELSEWHERE_AFTER_SECONDS:
            if caller.deadline.remaining() <= wait_seconds or not self._budget.withdraw():
                break
            self._rules.on_retry()
            await asyncio.sleep(wait_seconds)
            try:
                return await once()
            except AuditUnavailable as again:
                refusal = again
        raise refusal


def _is_transient(error: VecSecError) -> bool:
    # A policy service that is too slow is not asked again by the same call: that would make it slower.
    return isinstance(error, PolicyUnavailable) and not isinstance(error, PolicyTimedOut)
