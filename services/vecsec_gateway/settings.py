"""What the gateway can be told."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from vecsec_chassis.flag.flag import FlagSettings
from vecsec_chassis.placement.placement_settings import PlacementSettings
from vecsec_chassis.settings import HealthPort, ListeningSettings, MetricsPort, OptionalPath, OwnPort, PeerList
from vecsec_chassis.tls.allowed_peers import ANY_PEER, AllowedPeers
from vecsec_chassis.tls.certificates import CERTIFICATE_SETTING, CertificateFiles

_CLIENT_CA_SETTING = "VECSEC_GATEWAY_CLIENT_CA_FILE"


class DefaultFallback(StrEnum):
    """What a search gets that does not say what it wants when real retrieval is off or out of reach."""

    MOCK = "mock"
    NONE = "none"


class GatewaySettings(FlagSettings, PlacementSettings, ListeningSettings):
    """Settings of the gateway."""

    port: OwnPort = Field(50051, alias="VECSEC_GATEWAY_PORT")
    metrics_port: MetricsPort = Field(9091, alias="VECSEC_GATEWAY_METRICS_PORT")
    health_port: HealthPort = Field(None, alias="VECSEC_GATEWAY_HEALTH_PORT")
    allowed_peers: PeerList = Field(AllowedPeers.parse(ANY_PEER), alias="VECSEC_GATEWAY_ALLOWED_PEERS")
    """Which certificates callers may show, where they must show one: as for `VECSEC_POLICY_ALLOWED_PEERS`."""
    client_ca_file: OptionalPath = Field(None, alias=_CLIENT_CA_SETTING)
    """The authority (PEM) of the callers' certificates; unset, callers need none: their token says who they are."""
    issuers_file: Path = Field(alias="VECSEC_ISSUERS_FILE")
    """Trusted issuers of tokens, where their keys are, how claims are read, for whom they may speak; YAML or JSON,
    taken live."""
    policy_address: str = Field("localhost:50053", alias="VECSEC_POLICY_ADDRESS", min_length=1)
    """Where the policy service is, in gRPC's naming syntax; all addresses of a `dns:///name:port` share the load."""
    retrieval_address: str = Field("localhost:50052", alias="VECSEC_RETRIEVAL_ADDRESS", min_length=1)
    """Where the retrieval service is, in gRPC's naming syntax; all addresses of a `dns:///name:port` share the
    load. Not looked at where there is a placement, which has the addresses."""

    default_fallback: DefaultFallback = Field(DefaultFallback.MOCK, alias="VECSEC_DEFAULT_FALLBACK")
    """What searches get that say no `fallback` of their own when real retrieval is off or out of reach: made-up rows
    that say so (`mock`), or `UNAVAILABLE` (`none`). The SDK, and so `vecsec`, always say which."""
    default_deadline_seconds: float = Field(10.0, alias="VECSEC_DEFAULT_DEADLINE_SECONDS", gt=0, le=3600)
    """How long a unary call may take whose caller set no deadline."""
    policy_timeout_seconds: float = Field(2.0, alias="VECSEC_POLICY_TIMEOUT_SECONDS", gt=0, le=3600)
    """How long one try at the policy service may take."""
    retrieval_timeout_seconds: float = Field(5.0, alias="VECSEC_RETRIEVAL_TIMEOUT_SECONDS", gt=0, le=3600)
    """How long one try at the retrieval service may take."""
    plan_memory_seconds: float = Field(60.0, alias="VECSEC_PLAN_MEMORY_SECONDS", ge=0, le=3600)
    """How long a caller's plan to read is remembered, at most until its grant is about to end; 0 asks each time. A
    changed policy is in force at once all the same: a search whose check speaks of another version is done again."""
    peer_lanes: int = Field(2, alias="VECSEC_PEER_LANES", ge=0, le=64)
    """How many long-lived streams to each peer carry its calls, which is cheaper; 0 makes each call go by itself."""
    attempts: int = Field(3, alias="VECSEC_PEER_ATTEMPTS", ge=1, le=10)
    """How often a call to a peer is tried, with the first try, while it fails in a way that may pass."""
    circuit_threshold: int = Field(5, alias="VECSEC_CIRCUIT_THRESHOLD", ge=1, le=1000)
    """After how many failures in a row of a tenant's calls, such as may pass, retrieval is left alone."""
    circuit_open_seconds: float = Field(5.0, alias="VECSEC_CIRCUIT_OPEN_SECONDS", gt=0, le=3600)
    """For how long retrieval is left alone then; once its health says that it serves again, no longer."""
    replicas: int = Field(1, alias="VECSEC_GATEWAY_REPLICAS", ge=1, le=1000)
    """How many gateways share what tenants may do a second and at the same time: each lets through so large a part.
    With 1, each of several lets through all of it."""
    probe_seconds: float = Field(2.0, alias="VECSEC_PEER_PROBE_SECONDS", gt=0, le=3600)
    """How often the peers are asked for their health."""

    def certificate_files(self) -> CertificateFiles | None:
        """Where the certificates are; None without TLS. Callers are asked for a certificate only if there is an
        authority for theirs.
        """
        files = super().certificate_files()
        if files is None:
            return None
        return replace(files, client_authority=self.client_ca_file, client_authority_setting=_CLIENT_CA_SETTING)

    @model_validator(mode="after")
    def _demand_tls_for_client_certificates(self) -> Self:
        if self.client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError(f"{_CLIENT_CA_SETTING} is set, but no TLS; set {CERTIFICATE_SETTING} and its key as well")
        if self.client_ca_file is None and self.allowed_peers != AllowedPeers.parse(ANY_PEER):
            raise ValueError(
                f"VECSEC_GATEWAY_ALLOWED_PEERS needs {_CLIENT_CA_SETTING}, by which callers prove who they are"
            )
        return self
