"""Composition root of the policy service: the only file that names concrete classes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.auth.keys import key_source
from vecsec_chassis.auth.watched_issuers import ISSUERS, WatchedIssuers
from vecsec_chassis.background import running_in_background
from vecsec_chassis.process.common_parts import running_common_parts
from vecsec_chassis.rpc import wire
from vecsec_chassis.rpc.server import RunningService, running_server
from vecsec_chassis.telemetry.clock_watch import ClockWatch
from vecsec_chassis.telemetry.metrics import CacheUse, observe_caches
from vecsec_chassis.telemetry.telemetry import Telemetry
from vecsec_policy.audit.health import running_audit_health
from vecsec_policy.audit.writer import running_audit_file
from vecsec_policy.handlers import SERVICE_NAME, WITHOUT_TOKEN, PolicyHandlers
from vecsec_policy.in_force.metrics import engine_caches, observe_versions
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload.grant_signing import RotatingSigner
from vecsec_policy.reload.known_grant_keys import KnownGrantKeys, known_keys_file
from vecsec_policy.reload.orphaned_attributes import OrphanGuard
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.reload.reloading import PolicyReload, WatchedPolicy, WatchedRollout, watch_files
from vecsec_policy.reload.report import ReloadReport
from vecsec_policy.settings import AuditFailure, PolicySettings
from vecsec_policy.shadow.counts import ShadowCounts
from vecsec_policy.shadow.shadow import ShadowEvaluator
from vecsec_policy.use_cases.decisions import EntryGate, RowChecker
from vecsec_policy.use_cases.explain_access import AccessExplainer
from vecsec_policy.use_cases.foreign_access import LATE_SECONDS, ForeignAccessReports, UseRecorder
from vecsec_policy.use_cases.plan_access import AccessPlanner
from vecsec_policy.use_cases.policy_status import StatusReader
from vecsec_policy.use_cases.tenant_limits import LimitsReader
from vecsec_policy.use_cases.violation_reports import ViolationReports
from vecsec_policy.violations.index_place import index_folder
from vecsec_policy.violations.indexer import ViolationIndexing, running_violation_index

log = structlog.get_logger()


@asynccontextmanager
async def running_policy(settings: PolicySettings) -> AsyncIterator[RunningService]:
    """Run the policy service until the block ends.

    Raises:
        ConfigurationError: if settings, keys, policy files or the audit file are not usable.
    """
    async with AsyncExitStack() as stack:
        telemetry, certificates = await stack.enter_async_context(running_common_parts("policy", settings))
        issuers = WatchedIssuers(settings.issuers_file, telemetry.meter)
        metrics = PolicyMetrics(telemetry.meter)
        # Before the server, so released after it: what is decided while it drains is recorded too.
        audit_file = stack.enter_context(running_audit_file(settings.audit_log, metrics))
        watched = _reloadable_parts(settings, telemetry, metrics)  # keeps keys beside the log, which is locked now
        folder = stack.enter_context(index_folder(settings.audit_file, settings.violation_index_dir))
        index = stack.enter_context(running_violation_index(audit_file, folder, metrics))
        deciding = _deciding_parts(settings, telemetry, metrics, watched, index)
        observe_caches(telemetry.meter, deciding.caches | {"tokens": lambda: issuers.verifier.lookups})
        service = await stack.enter_async_context(
            running_server(
                service_name=SERVICE_NAME,
                add_servicer=partial(policy_service_pb2_grpc.add_PolicyServiceServicer_to_server, deciding.handlers),
                settings=settings,
                certificates=certificates,
                telemetry=telemetry,
                token_verifier=issuers.verifier,
                without_token=WITHOUT_TOKEN,
                carries_calls=True,
            )
        )
        _log_policy(settings, watched.reload.in_force.assignment.current)
        looking = watch_files((watched.reload.look, watched.signer.look), watched.report, service.health)
        await stack.enter_async_context(running_in_background(looking, "look for changed files"))
        await stack.enter_async_context(running_in_background(deciding.shadow.run(), "let the candidate decide too"))
        watching = ClockWatch(telemetry.meter).run(on_jump=deciding.planner.forget)
        await stack.enter_async_context(running_in_background(watching, "watch the clock"))
        await stack.enter_async_context(issuers.watching(partial(service.health.set_serving, name=ISSUERS)))
        await service.health.set_serving(True)
        refuses = settings.audit_on_failure is AuditFailure.REFUSE
        await stack.enter_async_context(
            running_audit_health(audit_file, service.health, service.offer_lanes, refuses=refuses)
        )
        yield service


@dataclass(frozen=True, slots=True)
class _ReloadableParts:
    """What stands in files that may change."""

    report: ReloadReport
    guard: OrphanGuard
    recent: RecentPlans
    reload: PolicyReload
    signer: RotatingSigner


def _reloadable_parts(settings: PolicySettings, telemetry: Telemetry, metrics: PolicyMetrics) -> _ReloadableParts:
    report = ReloadReport(metrics)
    guard, recent = OrphanGuard(), RecentPlans()
    policy = WatchedPolicy(settings.policy_dir, report, recent)
    reload = PolicyReload(policy, WatchedRollout(settings.rollout_file, report, recent), guard)
    observe_versions(telemetry.meter, reload.in_force)
    shared = None if settings.grant_jwks is None else key_source(settings.grant_jwks, "VECSEC_GRANT_JWKS")
    keys = KnownGrantKeys(known_keys_file(settings.audit_file), shared)
    return _ReloadableParts(report, guard, recent, reload, RotatingSigner(settings.grant_key_file, report, keys))


@dataclass(frozen=True, slots=True)
class _DecidingParts:
    """What answers by the policy in force."""

    planner: AccessPlanner
    shadow: ShadowEvaluator
    handlers: PolicyHandlers
    caches: dict[str, Callable[[], CacheUse]]


def _deciding_parts(
    settings: PolicySettings,
    telemetry: Telemetry,
    metrics: PolicyMetrics,
    watched: _ReloadableParts,
    index: ViolationIndexing,
) -> _DecidingParts:
    in_force, signer, audit_file = watched.reload.in_force, watched.signer, index.audit_file
    refuses = settings.audit_on_failure is AuditFailure.REFUSE
    gate = EntryGate(in_force, metrics, audit_file.append, may_decide=audit_file.is_recording if refuses else None)
    shadow_counts = ShadowCounts(telemetry.meter)
    shadow = ShadowEvaluator(in_force, audit_file.append, shadow_counts)
    planner = AccessPlanner(
        gate, metrics, shadow, watched.recent, sign=signer.sign, grant_seconds=settings.grant_seconds
    )
    checker = RowChecker(gate, metrics, shadow)
    handlers = PolicyHandlers(
        planner=planner,
        checker=checker,
        explainer=AccessExplainer(gate),
        reports=ViolationReports(gate, index),
        status=StatusReader(gate, shadow_counts, lambda: watched.report.is_failing),
        foreign_access=ForeignAccessReports(gate, index),
        uses=UseRecorder(GrantVerifier(signer.keys, accepted_late_seconds=LATE_SECONDS), audit_file, metrics),
        limits=LimitsReader(gate),
    )
    signer.on_change(planner.forget)
    watched.guard.carried = checker.attributes
    for forget in (planner.forget, checker.forget, shadow.forget):
        in_force.on_change(forget)
    caches: dict[str, Callable[[], CacheUse]] = {
        **wire.CACHES,
        **engine_caches(in_force),
        "standings": lambda: gate.lookups,
        "grants_signed": lambda: planner.lookups,
        "verdicts": lambda: checker.lookups,
        "shadow_standings": lambda: shadow.standing_lookups,
        "shadow_verdicts": lambda: shadow.verdict_lookups,
    }
    return _DecidingParts(planner, shadow, handlers, caches)


def _log_policy(settings: PolicySettings, policy: PolicySnapshot) -> None:
    log.info(
        "policy in force",
        policy_version=policy.version,
        policy_dir=str(settings.policy_dir),
        rules=len(policy.engine.rules),
        roles=len(policy.roles),
        tenants=len(policy.tenants),
        members=len(policy.memberships.of_people),
    )
