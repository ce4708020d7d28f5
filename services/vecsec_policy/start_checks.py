"""What must be right for the policy service to start: see `vecsec_chassis.process.starting`."""

from collections.abc import Sequence

from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.process.starting import Check
from vecsec_chassis.tls.watch import demand_usable_certificates
from vecsec_policy.audit.log import demand_appendable
from vecsec_policy.reload.grant_signing import grant_signer
from vecsec_policy.reload.reloading import first_rollout, first_snapshot
from vecsec_policy.settings import PolicySettings
from vecsec_policy.violations.index_place import demand_local_index


def start_checks(settings: PolicySettings) -> Sequence[Check]:
    """Certificates, issuers with their keys, the grant key, rules, rollout, places of the audit log and its index."""
    return (
        lambda: demand_usable_certificates(settings.certificate_files()),
        lambda: TokenVerifier(load_trusted_issuers(settings.issuers_file)),
        lambda: grant_signer(settings.grant_key_file),
        lambda: first_snapshot(settings.policy_dir),
        lambda: None if settings.rollout_file is None else first_rollout(settings.rollout_file),
        lambda: demand_appendable(settings.audit_file),
        lambda: demand_local_index(settings.violation_index_dir),
    )
