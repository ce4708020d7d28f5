"""What the gateway can be told."""

from pathlib import Path

from pydantic import Field

from vecsec_chassis.flag import FlagSettings
from vecsec_chassis.settings import Port


class GatewaySettings(FlagSettings):
    """Settings of the gateway."""

    port: Port = Field(50051, alias="VECSEC_GATEWAY_PORT")
    """Where callers find the gateway; 0 takes any free port."""
    metrics_port: Port = Field(9091, alias="VECSEC_GATEWAY_METRICS_PORT")
    """Where Prometheus finds its metrics."""
    issuers_file: Path = Field(alias="VECSEC_ISSUERS_FILE")
    """Whose tokens are accepted."""
    policy_address: str = Field("localhost:50053", alias="VECSEC_POLICY_ADDRESS", min_length=1)
    """Where the policy service is, in gRPC's naming syntax; several addresses of a DNS name are used in turn."""
    retrieval_address: str = Field("localhost:50052", alias="VECSEC_RETRIEVAL_ADDRESS", min_length=1)
    """Where the retrieval service is, likewise."""

    default_deadline_seconds: float = Field(10.0, alias="VECSEC_DEFAULT_DEADLINE_SECONDS", gt=0, le=3600)
    """How long a unary call may take whose caller set no deadline."""
    policy_timeout_seconds: float = Field(2.0, alias="VECSEC_POLICY_TIMEOUT_SECONDS", gt=0, le=3600)
    """How long one try at the policy service may take."""
    retrieval_timeout_seconds: float = Field(5.0, alias="VECSEC_RETRIEVAL_TIMEOUT_SECONDS", gt=0, le=3600)
    """How long one try at the retrieval service may take."""
    plan_memory_seconds: float = Field(60.0, alias="VECSEC_PLAN_MEMORY_SECONDS", ge=0, le=3600)
    """How long a caller's plan to read is remembered, at most for half of its grant's life; 0 asks each time."""
    attempts: int = Field(3, alias="VECSEC_PEER_ATTEMPTS", ge=1, le=10)
    """How often a call to a peer is tried, with the first try, while it fails in a way that may pass."""
    circuit_threshold: int = Field(5, alias="VECSEC_CIRCUIT_THRESHOLD", ge=1, le=1000)
    """After how many such failures in a row retrieval is left alone."""
    circuit_open_seconds: float = Field(5.0, alias="VECSEC_CIRCUIT_OPEN_SECONDS", gt=0, le=3600)
    """For how long."""
    probe_seconds: float = Field(2.0, alias="VECSEC_PEER_PROBE_SECONDS", gt=0, le=3600)
    """How often the health entries of the peers are brought up to date."""
