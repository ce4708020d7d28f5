"""Settings that all services share. Everything is an environment variable; `.env` in the current folder is read too."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.tls.allowed_peers import AllowedPeers
from vecsec_chassis.tls.certificates import AUTHORITY_SETTING, CERTIFICATE_SETTING, KEY_SETTING, CertificateFiles

DOTENV = ".env"


def demand_whole_dotenv(path: Path) -> None:
    """Refuse a `.env` of which some setting would be silently left out: its reader passes over what it cannot read. No
    file is fine.

    Raises:
        ConfigurationError: naming the line.
    """
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8") as stream:
            broken = next(
                (each for each in parse_stream(stream) if each.error or (each.key and each.value is None)), None
            )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"{path.absolute()}: {reason}; correct it, or take it away") from error
    if broken is not None:
        raise ConfigurationError(
            f"{path.absolute()}:{broken.original.line}: not NAME=value, or half of it; write the whole line again"
        )


_OURS = "Value error, "
"""What pydantic writes before our own words."""


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


def _parsed_peers(value: object) -> object:
    return AllowedPeers.parse(value) if isinstance(value, str) else value


Port = Annotated[int, Field(ge=0, le=65535)]
OptionalPort = Annotated[Port | None, BeforeValidator(_absent_if_empty)]
OptionalPath = Annotated[Path | None, BeforeValidator(_absent_if_empty)]
OptionalText = Annotated[str | None, BeforeValidator(_absent_if_empty)]

# What each service is told by a variable of its own, with what the reference says of it.
OwnPort = Annotated[Port, Field(description="The port that it listens on; 0 takes any free one.")]
MetricsPort = Annotated[Port, Field(description="Where Prometheus finds its metrics.")]
HealthPort = Annotated[
    OptionalPort,
    Field(
        description="Where probes that speak no TLS may ask for its health, and for nothing else; unset for nowhere. "
        "`vecsec.live` says that the process lives."
    ),
]
PeerList = Annotated[AllowedPeers, NoDecode, BeforeValidator(_parsed_peers)]
InnerPeerList = Annotated[
    PeerList,
    Field(
        description="With TLS: which identities (URI or DNS name in the certificate) may call what: `identity` or "
        "`identity=Method,Method`, between blanks; `health`, `reflection` and `lanes` are methods too, `*` is any peer "
        "of the authority."
    ),
]

Settings = TypeVar("Settings", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(
        env_file=DOTENV, extra="ignore", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )

    bind_address: str = Field("127.0.0.1", alias="VECSEC_BIND_ADDRESS")
    """The address that the service and its metrics listen on."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="VECSEC_LOG_LEVEL")
    """Least severe log lines to write."""
    max_message_bytes: int = Field(16 * 1024 * 1024, alias="VECSEC_MAX_MESSAGE_BYTES", ge=1024, le=256 * 1024 * 1024)
    """Largest batch of an import; no other request may be larger than 1 MiB."""
    shutdown_grace_seconds: float = Field(10.0, alias="VECSEC_SHUTDOWN_GRACE_SECONDS", ge=0, le=600)
    """How long calls in flight may take at the end. An import that goes on for 70 % of it ends between two batches
    (`SHUTTING_DOWN`), and our clients resume it."""
    max_connection_seconds: float = Field(300.0, alias="VECSEC_MAX_CONNECTION_SECONDS", ge=1, le=86400)
    """After how long clients are asked to connect anew, so that new replicas get their share; calls in flight go
    on."""
    max_connections: int = Field(2_000, alias="VECSEC_MAX_CONNECTIONS", ge=16, le=1_000_000)
    """How many connections a service has at once, before anybody shows a token; further ones are closed."""
    otlp_endpoint: OptionalText = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where traces go (OTLP over gRPC); none are recorded without it. They say, too, how long token, grant, mask and
    scan took."""
    tls_certificate_file: OptionalPath = Field(None, alias=CERTIFICATE_SETTING)
    """This service's certificate (PEM, leaf first), shown to callers and to other services. With key and authority, or
    no TLS. Taken anew when it changes."""
    tls_key_file: OptionalPath = Field(None, alias=KEY_SETTING)
    """Its private key (PEM, without a password); taken anew when it changes."""
    tls_ca_file: OptionalPath = Field(None, alias=AUTHORITY_SETTING)
    """The authority (PEM) that signs the certificates of VecSec's services; taken anew when it changes."""

    def certificate_files(self) -> CertificateFiles | None:
        """Where the certificates are; None without TLS. Callers must show one of the services' authority."""
        if self.tls_certificate_file is None or self.tls_key_file is None or self.tls_ca_file is None:
            return None
        return CertificateFiles(
            certificate=self.tls_certificate_file,
            key=self.tls_key_file,
            authority=self.tls_ca_file,
            client_authority=self.tls_ca_file,
            client_authority_setting=AUTHORITY_SETTING,
        )

    @model_validator(mode="after")
    def _demand_whole_tls(self) -> Self:
        """Half a configuration must not end in half a protection."""
        chosen = {
            CERTIFICATE_SETTING: self.tls_certificate_file,
            KEY_SETTING: self.tls_key_file,
            AUTHORITY_SETTING: self.tls_ca_file,
        }
        missing = [name for name, path in chosen.items() if path is None]
        if missing and len(missing) < len(chosen):
            raise ValueError(f"{' and '.join(missing)} not set; TLS needs {', '.join(chosen)}, or none of them")
        return self


class ListeningSettings(ServiceSettings):
    """What every service is told by variables of its own name."""

    port: OwnPort
    metrics_port: MetricsPort
    health_port: HealthPort
    allowed_peers: PeerList

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that sets a field."""
        return cls.model_fields[field].alias or field


def load_settings(kind: type[Settings]) -> Settings:
    """Read a service's settings from the environment.

    Raises:
        ConfigurationError: in one line that names each bad setting, its value and what is wrong.
    """
    demand_whole_dotenv(Path(DOTENV))
    try:
        return kind()
    except ValidationError as error:
        problems = "; ".join(
            _problem(".".join(str(part) for part in item["loc"]), item["type"], item.get("input"), item["msg"])
            for item in error.errors()
        )
        raise ConfigurationError(f"bad settings: {problems}; set it right in the environment or in {DOTENV}") from error


def _problem(name: str, kind: str, value: object, message: str) -> str:
    if not name:
        return message.removeprefix(_OURS)  # about several settings, which it names itself
    return f"{name} is not set" if kind == "missing" else f"{name}={value!r}: {message.removeprefix(_OURS)}"
