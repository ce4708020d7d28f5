"""Composition root of the policy service: the only file that names concrete classes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog

from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec_chassis.certificate_watch import running_certificates
from vecsec_chassis.grants import GrantSigner
from vecsec_chassis.listening import Listening
from vecsec_chassis.server import RunningService, running_server
from vecsec_chassis.telemetry import running_telemetry
from vecsec_chassis.tokens import TokenVerifier, load_trusted_issuers
from vecsec_policy.audit import Auditor
from vecsec_policy.audit_file import AuditFile, running_audit_file
from vecsec_policy.checking import RowChecker
from vecsec_policy.counting import ViolationCounter
from vecsec_policy.explaining import AccessExplainer
from vecsec_policy.handlers import SERVICE_NAME, PolicyHandlers
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.planning import AccessPlanner
from vecsec_policy.settings import PolicySettings
from vecsec_policy.snapshot import PolicyInForce, load_snapshot
from vecsec_policy.standing import EntryGate
from vecsec_policy.violations import ViolationLedger

log = structlog.get_logger()


@asynccontextmanager
async def running_policy(settings: PolicySettings) -> AsyncIterator[RunningService]:
    """Run the policy service until the block ends.

    Raises:
        StartupError: if settings, keys, policy files or the audit file are not usable.
    """
    snapshot = load_snapshot(settings.policy_dir)
    signer = GrantSigner.from_file(settings.grant_key_file)
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
        # Before the server, so released after it: what is decided while it drains is recorded too.
        audit_file = stack.enter_context(running_audit_file(settings.audit_file, metrics))
        handlers = _handlers(PolicyInForce(snapshot), signer, audit_file, metrics, settings.grant_seconds)

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
            )
        )
        log.info(
            "policy in force",
            policy_version=snapshot.version,
            policy_dir=str(settings.policy_dir),
            rules=len(snapshot.engine.rules),
            roles=len(snapshot.roles),
            tenants=len(snapshot.tenants),
        )
        await service.health.set_serving(True)
        yield service


def _handlers(
    policy: PolicyInForce, signer: GrantSigner, audit_file: AuditFile, metrics: PolicyMetrics, grant_seconds: float
) -> PolicyHandlers:
    ledger = ViolationLedger(metrics)
    auditor = Auditor(audit_file)
    gate = EntryGate(policy, ledger, auditor)
    return PolicyHandlers(
        AccessPlanner(gate, signer, ledger, auditor, metrics, grant_seconds=grant_seconds),
        RowChecker(gate, ledger, auditor, metrics),
        AccessExplainer(gate, auditor),
        ViolationCounter(gate, ledger, auditor),
    )
