"""Settings that all services share. Everything is an environment variable; `.env` in the current folder is read too."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from vecsec_chassis.errors import StartupError

Port = Annotated[int, Field(ge=0, le=65535)]


Settings = TypeVar("Settings", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, populate_by_name=True)

    bind_address: str = Field("127.0.0.1", alias="VECSEC_BIND_ADDRESS")
    """The address that the service and its metrics listen on."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="VECSEC_LOG_LEVEL")
    """Least severe log lines to write."""
    max_message_bytes: int = Field(16 * 1024 * 1024, alias="VECSEC_MAX_MESSAGE_BYTES", ge=1024, le=256 * 1024 * 1024)
    """Largest request that is served."""
    shutdown_grace_seconds: float = Field(10.0, alias="VECSEC_SHUTDOWN_GRACE_SECONDS", ge=0, le=600)
    """How long calls in flight may take to finish when the service stops."""
    otlp_endpoint: str | None = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where traces go (OTLP over gRPC); no traces are recorded without it."""


def load_settings(kind: type[Settings]) -> Settings:
    """Read a service's settings from the environment.

    Raises:
        StartupError: in one line that names each bad setting, its value and what is wrong.
    """
    try:
        return kind()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}={item.get('input')!r}: {item['msg']}"
            if item["type"] != "missing"
            else f"{'.'.join(str(part) for part in item['loc'])} is not set"
            for item in error.errors()
        )
        raise StartupError(f"bad settings: {problems}") from error
