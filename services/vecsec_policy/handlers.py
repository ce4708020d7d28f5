"""The policy service on the wire: messages to values, values to messages, nothing decided."""

from collections import Counter
from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from vecsec.policy.v1 import policy_service_pb2, policy_service_pb2_grpc
from vecsec.type.v1 import access_pb2
from vecsec_chassis.calls import current_identity
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.rpc import wire
from vecsec_chassis.rpc.interceptors import Context
from vecsec_policy.audit.foreign_use import ReportedUse
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.shadow.counts import ShadowChange, ShadowQuestion
from vecsec_policy.use_cases.decisions import RowChecker
from vecsec_policy.use_cases.explain_access import AccessExplainer
from vecsec_policy.use_cases.foreign_access import ForeignAccessReports, UseRecorder
from vecsec_policy.use_cases.plan_access import AccessPlanner
from vecsec_policy.use_cases.policy_status import StatusReader
from vecsec_policy.use_cases.possible_readers import PossibleReaders
from vecsec_policy.use_cases.smallest_changes import AttributeChange
from vecsec_policy.use_cases.tenant_limits import LimitsReader
from vecsec_policy.use_cases.violation_reports import ViolationReports
from vecsec_policy.violations.foreign_access import ForeignAccessFilter, ListedForeignAccess
from vecsec_policy.violations.queries import ListedViolation, ViolationFilter

WITHOUT_TOKEN = ("ReportForeignAccess",)
"""What it reports proves itself."""
SERVICE_NAME = policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].full_name

_MAXIMUM_ROWS = 1_000


class PolicyHandlers(policy_service_pb2_grpc.PolicyServiceServicer):
    """Hands each call to its use case."""

    def __init__(
        self,
        *,
        planner: AccessPlanner,
        checker: RowChecker,
        explainer: AccessExplainer,
        reports: ViolationReports,
        status: StatusReader,
        foreign_access: ForeignAccessReports,
        uses: UseRecorder,
        limits: LimitsReader,
    ) -> None:
        self._planner = planner
        self._checker = checker
        self._explainer = explainer
        self._reports = reports
        self._status = status
        self._foreign_access = foreign_access
        self._uses = uses
        self._limits = limits

    async def PlanAccess(  # noqa: N802 (the contract's name)
        self, request: policy_service_pb2.PlanAccessRequest, context: Context
    ) -> policy_service_pb2.PlanAccessResponse:
        """Say which rows the caller could touch, as a signed grant."""
        plan = await self._planner.plan(current_identity(), request.tenant_id, wire.action_from_proto(request.action))
        caller = plan.access.caller
        return policy_service_pb2.PlanAccessResponse(
            grant=plan.signed_grant,
            expire_time=_timestamp(plan.expires_at),
            policy_version=plan.access.policy.version,
            caller=policy_service_pb2.Caller(
                subject=caller.subject,
                tenant_id=caller.tenant.tenant_id,
                role=caller.role.name,
                effective_clearance=wire.sensitivity_to_proto(caller.clearance),
            ),
            topics=sorted(plan.access.target.topics),
        )

    async def CheckDocuments(  # noqa: N802
        self, request: policy_service_pb2.CheckDocumentsRequest, context: Context
    ) -> policy_service_pb2.CheckDocumentsResponse:
        """Decide each row again, by the policy in force now."""
        labels = [
            wire.label_from_bytes(label.SerializeToString(), f"labels[{number}]")
            for number, label in enumerate(request.labels)
        ]
        checked = await self._checker.check(
            current_identity(),
            request.tenant_id,
            wire.action_from_proto(request.action),
            _rows(labels, request.row_counts),
            planned_policy_version=request.planned_policy_version,
            search_mode=wire.search_mode_from_proto(request.search_mode) if request.search_mode else None,
        )
        return policy_service_pb2.CheckDocumentsResponse(
            verdicts=[_verdict(checked.verdicts[label]) for label in labels], policy_version=checked.policy_version
        )

    async def ExplainAccess(  # noqa: N802
        self, request: policy_service_pb2.ExplainAccessRequest, context: Context
    ) -> policy_service_pb2.ExplainAccessResponse:
        """Say whether the caller may and, to whoever may configure, why."""
        explanation = await self._explainer.explain(
            current_identity(),
            request.tenant_id,
            wire.action_from_proto(request.action),
            wire.label_from_proto(request.label),
        )
        return policy_service_pb2.ExplainAccessResponse(
            decision=_decision(explanation.allowed),
            incident_id=explanation.incident_id,
            policy_version=explanation.policy_version,
            determining_rules=[
                policy_service_pb2.DeterminingRule(rule_id=rule.rule_id, description=rule.description, text=rule.text)
                for rule in explanation.rules
            ],
            deciding_values=[
                policy_service_pb2.DecidingValue(attribute=value.attribute, value=value.value)
                for value in explanation.values
            ],
            remedies=[_remedy(changes) for changes in explanation.remedies.found] if explanation.remedies else [],
            tried_changes=explanation.remedies.tried if explanation.remedies else 0,
            possible_readers=_possible_readers(explanation.readers) if explanation.readers else None,
        )

    async def CountViolations(  # noqa: N802
        self, request: policy_service_pb2.CountViolationsRequest, context: Context
    ) -> policy_service_pb2.CountViolationsResponse:
        """Count a tenant's violations."""
        counted = await self._reports.count(current_identity(), _violation_filter(request))
        counts = counted.counts
        return policy_service_pb2.CountViolationsResponse(
            violations=[
                policy_service_pb2.ViolationCount(violation_type=wire.violation_type_to_proto(violation), count=count)
                for violation, count in counts.violations.items()
            ],
            denied_count=counts.denied,
            since_time=_timestamp(counts.since),
            replica_id=self._reports.replica_id,
            policy_version=counted.policy_version,
        )

    async def GetPolicyStatus(  # noqa: N802
        self, request: policy_service_pb2.GetPolicyStatusRequest, context: Context
    ) -> policy_service_pb2.GetPolicyStatusResponse:
        """Say which policy decides over a tenant's rows."""
        status = self._status.read(current_identity(), request.tenant_id)
        return policy_service_pb2.GetPolicyStatusResponse(
            policy_version=status.policy_version,
            load_time=_timestamp(status.loaded_at),
            candidate_version=status.candidate_version,
            is_promoted=status.is_promoted,
            shadow_share=status.shadow_share,
            disagreements=policy_service_pb2.ShadowDisagreements(
                entries_gained=status.disagreements[ShadowQuestion.ENTRY, ShadowChange.GAINED],
                entries_lost=status.disagreements[ShadowQuestion.ENTRY, ShadowChange.LOST],
                rows_gained=status.disagreements[ShadowQuestion.ROW, ShadowChange.GAINED],
                rows_lost=status.disagreements[ShadowQuestion.ROW, ShadowChange.LOST],
            ),
            is_reload_failing=status.is_reload_failing,
        )

    async def GetTenantLimits(  # noqa: N802
        self, request: policy_service_pb2.GetTenantLimitsRequest, context: Context
    ) -> policy_service_pb2.GetTenantLimitsResponse:
        """Say what a tenant may use."""
        limits, policy_version = self._limits.read(current_identity(), request.tenant_id)
        return policy_service_pb2.GetTenantLimitsResponse(
            limits=wire.tenant_limits_to_proto(limits), policy_version=policy_version
        )

    async def ListViolations(  # noqa: N802
        self, request: policy_service_pb2.ListViolationsRequest, context: Context
    ) -> policy_service_pb2.ListViolationsResponse:
        """List a tenant's violations."""
        page = await self._reports.page(
            current_identity(),
            _violation_filter(request),
            size=request.page_size,
            token=request.page_token,
            newest_first=request.newest_first,
        )
        return policy_service_pb2.ListViolationsResponse(
            violations=[_violation(violation) for violation in page.violations],
            next_page_token=page.next_token,
            has_more=page.has_more,
            replica_id=self._reports.replica_id,
            policy_version=page.policy_version,
        )

    async def ListForeignAccess(  # noqa: N802
        self, request: policy_service_pb2.ListForeignAccessRequest, context: Context
    ) -> policy_service_pb2.ListForeignAccessResponse:
        """List what callers of other tenants did in a tenant."""
        page = await self._foreign_access.page(
            current_identity(),
            ForeignAccessFilter(
                request.tenant_id,
                start=_seconds(request.start_time, "start_time") if request.HasField("start_time") else None,
                end=_seconds(request.end_time, "end_time") if request.HasField("end_time") else None,
            ),
            size=request.page_size,
            token=request.page_token,
            newest_first=request.newest_first,
        )
        return policy_service_pb2.ListForeignAccessResponse(
            accesses=[_foreign_access(access) for access in page.accesses],
            next_page_token=page.next_token,
            has_more=page.has_more,
            since_time=_timestamp(page.since),
            replica_id=self._reports.replica_id,
            policy_version=page.policy_version,
        )

    async def ReportForeignAccess(  # noqa: N802
        self, request: policy_service_pb2.ReportForeignAccessRequest, context: Context
    ) -> policy_service_pb2.ReportForeignAccessResponse:
        """Take down what grants that cross tenants were used for."""
        refused = await self._uses.record(
            [
                ReportedUse(
                    use_id=use.use_id,
                    grant=use.grant,
                    calls=use.call_count,
                    rows=use.row_count,
                    start=_seconds(use.start_time, f"uses[{number}].start_time"),
                    end=_seconds(use.end_time, f"uses[{number}].end_time"),
                )
                for number, use in enumerate(request.uses)
            ]
        )
        return policy_service_pb2.ReportForeignAccessResponse(refused_use_ids=refused)


def _foreign_access(access: ListedForeignAccess) -> policy_service_pb2.ForeignAccess:
    return policy_service_pb2.ForeignAccess(
        kind=access.kind.value,
        time=_timestamp(access.time),
        caller_tenant_id=access.caller_tenant_id,
        subject=access.subject,
        role=access.role,
        action=wire.action_to_proto(access.action),
        call_count=access.calls,
        row_count=access.rows,
        incident_id=access.incident_id,
        policy_version=access.policy_version,
    )


def _violation_filter(
    request: policy_service_pb2.CountViolationsRequest | policy_service_pb2.ListViolationsRequest,
) -> ViolationFilter:
    """What the request asks for.

    Raises:
        InvalidRequest: for a time that is none.
    """
    types = [wire.violation_type_from_proto(number) for number in request.violation_types]
    return ViolationFilter(
        tenant_id=request.tenant_id,
        types=frozenset(each for each in types if each is not None),
        start=_seconds(request.start_time, "start_time") if request.HasField("start_time") else None,
        end=_seconds(request.end_time, "end_time") if request.HasField("end_time") else None,
    )


def _seconds(time: Timestamp, field: str) -> float:
    try:
        return time.ToNanoseconds() / 1e9
    except ValueError as error:
        raise InvalidRequest.of(field, "is not a time between the years 1 and 9999") from error


def _violation(violation: ListedViolation) -> policy_service_pb2.Violation:
    return policy_service_pb2.Violation(
        violation_type=wire.violation_type_to_proto(violation.type),
        count=violation.count,
        time=_timestamp(violation.time),
        incident_id=violation.incident_id,
        request_id=violation.request_id,
        subject=violation.subject,
        role=violation.role,
        requested_tenant_id=violation.tenant_id,
        action=wire.action_to_proto(violation.action),
        policy_version=violation.policy_version,
    )


def _rows(labels: Sequence[Label], row_counts: Sequence[int]) -> Mapping[Label, int]:
    """How many rows have each label; no counts mean one row a label.

    Raises:
        InvalidRequest: if the counts are not one a label, or too many altogether.
    """
    if not row_counts:
        return Counter(labels)
    if len(row_counts) != len(labels):
        raise InvalidRequest.of(
            "row_counts", f"has {len(row_counts)} numbers for {len(labels)} labels; send one a label"
        )
    if sum(row_counts) > _MAXIMUM_ROWS:
        raise InvalidRequest.of("row_counts", f"are {sum(row_counts)} rows; at most {_MAXIMUM_ROWS} are checked")
    rows: dict[Label, int] = {}
    for label, row_count in zip(labels, row_counts, strict=True):
        rows[label] = rows.get(label, 0) + row_count
    return rows


def _verdict(verdict: Verdict) -> policy_service_pb2.Verdict:
    return policy_service_pb2.Verdict(
        decision=_decision(verdict.allowed), violation_type=wire.violation_type_to_proto(verdict.violation)
    )


def _possible_readers(found: PossibleReaders) -> policy_service_pb2.PossibleReaders:
    return policy_service_pb2.PossibleReaders(
        roles=[
            policy_service_pb2.ReadingRole(
                role=each.role, least_clearance=wire.sensitivity_to_proto(each.least_clearance)
            )
            for each in found.roles
        ],
        is_limited=found.named is not None,
        named_readers=[
            policy_service_pb2.NamedReader(name=each.name, people=each.people, people_count=each.people_count)
            for each in found.named or ()
        ],
    )


def _remedy(changes: Sequence[AttributeChange]) -> policy_service_pb2.Remedy:
    return policy_service_pb2.Remedy(
        changes=[
            policy_service_pb2.Change(attribute=change.subject, before=change.before, after=change.after)
            for change in changes
        ]
    )


def _decision(allowed: bool) -> access_pb2.Decision.ValueType:
    return access_pb2.DECISION_ALLOW if allowed else access_pb2.DECISION_WITHHOLD


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(int(seconds * 1000))
    return timestamp
