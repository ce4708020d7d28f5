"""Settings of the retrieval service."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, BeforeValidator, Field, SecretStr, model_validator

from vecsec_chassis.domain.sizes import parse_size
from vecsec_chassis.flag.flag import FlagSettings
from vecsec_chassis.placement.placement_settings import PlacementSettings
from vecsec_chassis.settings import HealthPort, InnerPeerList, ListeningSettings, MetricsPort, OptionalText, OwnPort
from vecsec_chassis.tls.allowed_peers import GATEWAY_AND_SHARDS, AllowedPeers
from vecsec_retrieval.model.embeddings import WORDLLAMA


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _size_or_nothing(value: object) -> object:
    return 0 if value == "0" else _size(value)


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


class RetrievalSettings(FlagSettings, PlacementSettings, ListeningSettings):
    """What the retrieval service can be told."""

    port: OwnPort = Field(50052, alias="VECSEC_RETRIEVAL_PORT")
    metrics_port: MetricsPort = Field(9092, alias="VECSEC_RETRIEVAL_METRICS_PORT")
    health_port: HealthPort = Field(None, alias="VECSEC_RETRIEVAL_HEALTH_PORT")
    allowed_peers: InnerPeerList = Field(AllowedPeers.parse(GATEWAY_AND_SHARDS), alias="VECSEC_RETRIEVAL_ALLOWED_PEERS")
    grant_jwks: str = Field(alias="VECSEC_GRANT_JWKS")
    """Path or URL of the set of public keys (JWKS) that verify grants; watched."""
    policy_address: str = Field("localhost:50053", alias="VECSEC_POLICY_ADDRESS", min_length=1)
    """Where the policy service is, in gRPC's naming syntax. Retrieval tells it alone what callers of other tenants did;
    where nobody reads across tenants, it is never called."""
    chroma_path: Path = Field(Path(".vecsec/chroma"), alias="CHROMA_PATH")
    """Where the tenants' cells are: a directory each, of the embedded store."""
    new_store_until: Annotated[AwareDatetime | None, BeforeValidator(_absent_if_empty)] = Field(
        None, alias="VECSEC_NEW_STORE_UNTIL"
    )
    """Until this time, such as `2026-01-31T18:00Z`, a store may begin at a `CHROMA_PATH` that holds none. Without it
    the service refuses to start there: a store that is not mounted looks like that."""
    chroma_url: OptionalText = Field(None, alias="CHROMA_CONNECTION_STRING")
    """A ChromaDB server (`http://host:port` or `https://…`) instead of `CHROMA_PATH`: a database per tenant."""
    chroma_api_key: SecretStr | None = Field(None, alias="CHROMA_API_KEY")
    """Sent to the Chroma server as `x-chroma-token`."""
    chroma_tenant: str = Field("default_tenant", alias="CHROMA_TENANT")
    """Chroma's own tenant on that server, in which each VecSec tenant gets a database."""
    memory_limit_bytes: Annotated[int, BeforeValidator(_size)] = Field(
        "1G", alias="CHROMA_MEMORY_LIMIT", validate_default=True
    )
    """How much memory the process may take, such as `512M` or `1G`: what it needs itself, and the rest, at least half,
    for open cells and their in-memory indexes; the least recently used go first."""
    answer_memory_bytes: Annotated[int, BeforeValidator(_size_or_nothing)] = Field(
        0, alias="VECSEC_ANSWER_MEMORY_BYTES", ge=0
    )
    """Memory, such as `64M`, for answers of searches in memory, so that a caller who asks the same again while nothing
    has changed gets it sooner; pays where collections are large. 0 remembers none; never used with
    `CHROMA_CONNECTION_STRING`."""
    embedding_model: str = Field(WORDLLAMA, alias="VECSEC_EMBEDDING_MODEL")
    """The model of new collections: `wordllama`, or `chroma:<name>` from ChromaDB's registry, such as
    `chroma:onnx_mini_lm_l6_v2`."""
    embedding_model_config: dict[str, object] = Field(default_factory=dict, alias="VECSEC_EMBEDDING_MODEL_CONFIG")
    """That model's own configuration, as JSON, where it is one of ChromaDB's."""
    store_threads: int = Field(8, alias="VECSEC_STORE_THREADS", ge=1, le=128)
    """How many calls to the vector store may run at the same time."""
    max_answer_bytes: int = Field(16 * 1024 * 1024, alias="VECSEC_MAX_ANSWER_BYTES", ge=1024, le=256 * 1024 * 1024)
    """Largest answer; a larger one is refused before it is built. A gateway takes four times its own
    VECSEC_MAX_MESSAGE_BYTES (16 MiB unless set)."""

    shard: OptionalText = Field(None, alias="VECSEC_SHARD")
    """Which shard of the placement this service is; on Kubernetes its pod's name. Set with VECSEC_PLACEMENT_FILE."""

    @model_validator(mode="after")
    def _demand_whole_shard(self) -> Self:
        if (self.shard is None) != (self.placement_file is None):
            raise ValueError(
                "VECSEC_SHARD and VECSEC_PLACEMENT_FILE belong together: a shard of a placement, or neither"
            )
        if self.shard is not None and self.chroma_url is not None:
            raise ValueError(
                "VECSEC_SHARD is set beside CHROMA_CONNECTION_STRING; a ChromaDB server needs no shards, any number of "
                "retrieval services may share it"
            )
        return self

    @property
    def store_may_be_new(self) -> bool:
        """Whether, now, a store may begin at `chroma_path`."""
        return self.new_store_until is not None and datetime.now(UTC) < self.new_store_until
