"""Settings of the policy service."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from vecsec_chassis.domain.sizes import parse_size
from vecsec_chassis.settings import (
    HealthPort,
    InnerPeerList,
    ListeningSettings,
    MetricsPort,
    OptionalPath,
    OptionalText,
    OwnPort,
)
from vecsec_chassis.tls.allowed_peers import GATEWAY_AND_REPORTS, AllowedPeers
from vecsec_policy.audit.log import LogSettings

_KEEP_ALL = "all"
PACKAGED_POLICY = Path(__file__).with_name("default_policy")


def _size_or_all(value: object) -> object:
    if not isinstance(value, str):
        return value
    return None if value == _KEEP_ALL else parse_size(value)


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
    allowed_peers: InnerPeerList = Field(AllowedPeers.parse(GATEWAY_AND_REPORTS), alias="VECSEC_POLICY_ALLOWED_PEERS")
    issuers_file: Path = Field(alias="VECSEC_ISSUERS_FILE")
    """Trusted issuers of tokens, where their keys are, how claims are read, for whom they may speak; YAML or JSON,
    taken live."""
    grant_key_file: Path = Field(alias="VECSEC_GRANT_KEY_FILE")
    """The Ed25519 private key (PEM, PKCS#8) that signs grants, or a folder of `*.pem`, of which the last by name
    signs; watched."""
    grant_jwks: OptionalText = Field(None, alias="VECSEC_GRANT_JWKS")
    """Path or URL of the set of public keys (JWKS) of all replicas, where each signs with a key of its own: by them
    what retrieval tells of another replica's grants is taken down, and nothing else."""
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
    """How many rotated files are kept; unset, as many as `VECSEC_AUDIT_BYTES_KEPT` has room for."""
    audit_bytes_kept: Annotated[int | None, BeforeValidator(_size_or_all)] = Field(
        "8G", alias="VECSEC_AUDIT_BYTES_KEPT", validate_default=True
    )
    """How large all files of the audit log may become together, such as `500M` or `8G`: beyond it the oldest are
    removed, which the log itself says first. `all` removes none, and unset, with `VECSEC_AUDIT_FILES_KEPT`, that number
    alone is kept to."""
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
        """How the audit log is kept. Who says a number of files alone gets it: it may be more than our default."""
        is_number_alone = self.audit_files_kept is not None and "audit_bytes_kept" not in self.model_fields_set
        return LogSettings(
            self.audit_file,
            self.replica_id,
            self.audit_file_bytes,
            files_kept=self.audit_files_kept,
            bytes_kept=None if is_number_alone else self.audit_bytes_kept,
        )
