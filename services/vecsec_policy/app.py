"""Composition root of the policy service: the only file that names concrete classes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog

from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec_chassis.background import running_in_background
from vecsec_chassis.certificate_watch import running_certificates
from vecsec_chassis.clock_watch import ClockWatch
from vecsec_chassis.listening import Listening
from vecsec_chassis.server import RunningService, running_server
from vecsec_chassis.telemetry import running_telemetry
from vecsec_chassis.tokens import TokenVerifier, load_trusted_issuers
from vecsec_policy.audit import Auditor
from vecsec_policy.audit_file import running_audit_file
from vecsec_policy.audit_health import running_audit_health
from vecsec_policy.checking import RowChecker
from vecsec_policy.counting import ViolationReports
from vecsec_policy.explaining import AccessExplainer
from vecsec_policy.handlers import SERVICE_NAME, PolicyHandlers
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.orphans import OrphanGuard
from vecsec_policy.planning import AccessPlanner
from vecsec_policy.reload_report import ReloadReport
from vecsec_policy.reloading import PolicyReload, WatchedPolicy, WatchedRollout, keep_looking
from vecsec_policy.settings import AuditFailure, PolicySettings
from vecsec_policy.shadow_counts import ShadowCounts
from vecsec_policy.shadowing import Shadow
from vecsec_policy.signing import RotatingSigner
from vecsec_policy.standing import EntryGate
from vecsec_policy.status import StatusReader
from vecsec_policy.version_metrics import VersionMetrics
from vecsec_policy.violation_indexing import running_violation_index
from vecsec_policy.violations import ViolationLedger

log = structlog.get_logger()


@asynccontextmanager
async def running_policy(settings: PolicySettings) -> AsyncIterator[RunningService]:
    """Run the policy service until the block ends.

    Raises:
        StartupError: if settings, keys, policy files or the audit file are not usable.
    """
    verifier = TokenVerifier(load_trusted_issuers(settings.issuers_file))
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            running_telemetry(
                "policy",
                address=settings.bind_address,
                metrics_port=settings.metrics_port,
                otlp_endpoint=settings.otlp_endpoint,
            )
        )
        certificates = await stack.enter_async_context(
            running_certificates(settings.certificate_files(), telemetry.meter)
        )
        metrics = PolicyMetrics(telemetry.meter)
        report = ReloadReport(metrics)
        guard = OrphanGuard()
        watched_policy = WatchedPolicy(settings.policy_dir, report)
        reload = PolicyReload(watched_policy, WatchedRollout(settings.rollout_file, report), guard)
        VersionMetrics(telemetry.meter, reload.in_force)
        signer = RotatingSigner(settings.grant_key_file, report)
        # Before the server, so released after it: what is decided while it drains is recorded too.
        audit_file = stack.enter_context(running_audit_file(settings.audit_log, metrics))
        refuses = settings.audit_on_failure is AuditFailure.REFUSE
        auditor = Auditor(audit_file, may_decide=lambda: not refuses or audit_file.is_recording)
        ledger = ViolationLedger(metrics)
        gate = EntryGate(reload.in_force, ledger, auditor)
        shadow_counts = ShadowCounts(telemetry.meter)
        shadow = Shadow(reload.in_force, audit_file, shadow_counts)
        planner = AccessPlanner(
            gate, signer, ledger, auditor, metrics, grant_seconds=settings.grant_seconds, shadow=shadow
        )
        checker = RowChecker(gate, ledger, auditor, metrics, shadow=shadow)
        index = stack.enter_context(running_violation_index(audit_file, metrics))
        handlers = PolicyHandlers(
            planner,
            checker,
            AccessExplainer(gate, auditor),
            ViolationReports(gate, index, auditor),
            StatusReader(gate, reload.in_force, shadow_counts, auditor, lambda: report.is_failing),
        )
        signer.on_change(planner.forget)
        guard.ask(checker.labels)
        for forget in (planner.forget, checker.forget, shadow.forget):
            reload.in_force.on_change(forget)

        def add_servicer(server: grpc.aio.Server) -> None:
            policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(handlers, server)

        service = await stack.enter_async_context(
            running_server(
                service_name=SERVICE_NAME,
                add_servicer=add_servicer,
                listening=Listening(
                    address=settings.bind_address,
                    port=settings.port,
                    port_setting="VECSEC_POLICY_PORT",
                    certificates=certificates,
                    allowed_peers=settings.allowed_peers,
                    allowed_peers_setting="VECSEC_POLICY_ALLOWED_PEERS",
                    health_port=settings.health_port,
                    health_port_setting="VECSEC_POLICY_HEALTH_PORT",
                ),
                settings=settings,
                telemetry=telemetry,
                token_verifier=verifier,
                carries_calls=True,
            )
        )
        log.info(
            "policy in force",
            policy_version=watched_policy.policy.version,
            policy_dir=str(settings.policy_dir),
            rules=len(watched_policy.policy.engine.rules),
            roles=len(watched_policy.policy.roles),
            tenants=len(watched_policy.policy.tenants),
        )
        looking = keep_looking((reload.look, signer.look), report, service.health)
        await stack.enter_async_context(running_in_background(looking, "look for changed files"))
        await stack.enter_async_context(running_in_background(shadow.run(), "let the candidate decide too"))
        watching = ClockWatch(telemetry.meter).run(on_jump=planner.forget)
        await stack.enter_async_context(running_in_background(watching, "watch the clock"))
        await service.health.set_serving(True)
        await stack.enter_async_context(running_audit_health(audit_file, service.health, refuses=refuses))
        yield service
