"""Settings of the policy service."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from vecsec_chassis.settings import HealthPort, InnerPeerList, ListeningSettings, MetricsPort, OptionalPath, OwnPort
from vecsec_chassis.tls.allowed_peers import GATEWAY_ONLY, AllowedPeers
from vecsec_policy.audit.log import LogSettings

PACKAGED_POLICY = Path(__file__).with_name("default_policy")


class AuditFailure(StrEnum):
    """What to do while the audit log cannot be written."""

    COUNT = "count"
    """Go on deciding; count and tell what waits or is lost."""
    REFUSE = "refuse"
    """Decide nothing."""


class PolicySettings(ListeningSettings):
    """What the policy service can be told."""

    port: OwnPort = Field(50053, alias="VECSEC_POLICY_PORT")
    metrics_port: MetricsPort = Field(9093, alias="VECSEC_POLICY_METRICS_PORT")
    health_port: HealthPort = Field(None, alias="VECSEC_POLICY_HEALTH_PORT")
    allowed_peers: InnerPeerList = Field(AllowedPeers.parse(GATEWAY_ONLY), alias="VECSEC_POLICY_ALLOWED_PEERS")
    issuers_file: Path = Field(alias="VECSEC_ISSUERS_FILE")
    """Trusted issuers of tokens: name, audience, JWKS by path or URL, algorithms."""
    grant_key_file: Path = Field(alias="VECSEC_GRANT_KEY_FILE")
    """The Ed25519 private key (PEM, PKCS#8) that signs grants, or a folder of `*.pem`, of which the last by name
    signs; watched."""
    policy_dir: Path = Field(PACKAGED_POLICY, alias="VECSEC_POLICY_DIR")
    """The folder with `schema.cedarschema`, `*.cedar`, `roles.yaml` and `tenants.yaml`; watched."""
    rollout_file: OptionalPath = Field(None, alias="VECSEC_POLICY_ROLLOUT_FILE")
    """Names a candidate policy and says for whom it is tried or decides; without the file there is none. Watched."""
    audit_file: Path = Field(alias="VECSEC_AUDIT_FILE")
    """The newest file of the audit log: one JSON object for each decision, hash-chained."""
    replica_id: str | None = Field(None, alias="VECSEC_REPLICA_ID")
    """Names this replica's audit log in each of its records; unset, as the log says, else the host's name. Each
    replica needs a `VECSEC_AUDIT_FILE` of its own."""
    audit_file_bytes: int = Field(64 * 1024 * 1024, alias="VECSEC_AUDIT_FILE_BYTES", ge=4096)
    """A file of the audit log that would grow beyond this is rotated."""
    audit_files_kept: int | None = Field(None, alias="VECSEC_AUDIT_FILES_KEPT", ge=1)
    """How many rotated files are kept; all, if it is not set."""
    violation_index_dir: OptionalPath = Field(None, alias="VECSEC_VIOLATION_INDEX_DIR")
    """The folder of the index of violations, on a disk of this machine; unset, that of the audit log. What is in it is
    made from the log, and again where it is not there."""
    audit_on_failure: AuditFailure = Field(AuditFailure.COUNT, alias="VECSEC_AUDIT_ON_FAILURE")
    """While the audit log cannot be written: `count` goes on, tells, and keeps 100,000 records to write later;
    `refuse` decides nothing (`AUDIT_UNAVAILABLE`, health NOT_SERVING) until it can."""
    grant_seconds: float = Field(60.0, alias="VECSEC_GRANT_SECONDS", ge=5, le=3600)
    """How long a grant lives. A caller whose rights are taken away keeps reading for that long at most, and the check
    withholds the rows before."""

    @property
    def audit_log(self) -> LogSettings:
        """How the audit log is kept."""
        return LogSettings(self.audit_file, self.replica_id, self.audit_file_bytes, self.audit_files_kept)
