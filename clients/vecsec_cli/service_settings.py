"""What the three services are told by `vecsec up`: defaults from the state directory, under whatever is already set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dotenv import dotenv_values

from vecsec_cli.failures import CommandFailure
from vecsec_cli.state_directory import StateDirectory

_LOOPBACK = "127.0.0.1"
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 (compared with, not bound to)


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three services as a process."""

    name: str
    """Short: gateway, retrieval or policy."""
    port: int
    metrics_port: int
    port_option: str
    """The option of `vecsec up` that sets the port."""
    metrics_option: str
    """The option that sets the metrics port, and by how much this service's lies above it."""

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"vecsec_{self.name}"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen."""

    gateway: int
    retrieval: int
    policy: int
    metrics: int
    """The gateway's; those of retrieval and policy are the next two."""

    @classmethod
    def of(cls, settings: Mapping[str, str], **chosen: int | None) -> Self:
        """The ports that are chosen or, where they are not, set; else the defaults.

        Raises:
            CommandFailure: if a setting is not a port.
        """
        return cls(
            **{
                name: chosen.get(name) or _port(settings, setting, default)
                for name, (setting, default) in _PORTS.items()
            }
        )

    def services(self) -> tuple[Service, ...]:
        """The services in the order in which they start; they stop in the reverse order."""
        return (
            Service("policy", self.policy, self.metrics + 2, "--policy-port", "--metrics-port (plus 2)"),
            Service("retrieval", self.retrieval, self.metrics + 1, "--retrieval-port", "--metrics-port (plus 1)"),
            Service("gateway", self.gateway, self.metrics, "--gateway-port", "--metrics-port"),
        )


_PORTS = {
    "gateway": ("VECSEC_GATEWAY_PORT", 50051),
    "retrieval": ("VECSEC_RETRIEVAL_PORT", 50052),
    "policy": ("VECSEC_POLICY_PORT", 50053),
    "metrics": ("VECSEC_GATEWAY_METRICS_PORT", 9091),
}


def operator_settings() -> dict[str, str]:
    """The environment, over `.env` of the current folder, which the services read too."""
    dotenv = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return dotenv | os.environ


def bind_address(settings: Mapping[str, str]) -> str:
    """The address that the services listen on."""
    return settings.get("VECSEC_BIND_ADDRESS", _LOOPBACK)


def reachable_host(settings: Mapping[str, str]) -> str:
    """The host under which this machine reaches its own services."""
    address = bind_address(settings)
    return _LOOPBACK if address in _ANY_ADDRESS else address


def service_environment(settings: Mapping[str, str], state: StateDirectory, ports: Ports) -> dict[str, str]:
    """The environment of the services: what the operator has set stays, the state directory fills the rest."""
    host = reachable_host(settings)
    defaults: dict[str, Path | str] = {
        "CHROMA_PATH": state.chroma,
        "VECSEC_AUDIT_FILE": state.audit_file,
        "VECSEC_FLAG_FILE": state.flags_file,
        "VECSEC_GRANT_JWKS": state.grant_jwks,
        "VECSEC_GRANT_KEY_FILE": state.grant_key,
        "VECSEC_ISSUERS_FILE": state.issuers_file,
        "VECSEC_POLICY_ADDRESS": f"{host}:{ports.policy}",
        "VECSEC_POLICY_DIR": state.policy,
        "VECSEC_RETRIEVAL_ADDRESS": f"{host}:{ports.retrieval}",
    }
    environment = {name: _absolute(value) for name, value in defaults.items() if not settings.get(name)}
    for service in ports.services():
        environment[f"VECSEC_{service.name.upper()}_PORT"] = str(service.port)
        environment[f"VECSEC_{service.name.upper()}_METRICS_PORT"] = str(service.metrics_port)
    return dict(settings) | environment


def _port(settings: Mapping[str, str], name: str, default: int) -> int:
    value = settings.get(name) or str(default)
    if not value.isdecimal():
        raise CommandFailure(f"{name}={value!r} is not a port")
    return int(value)


def _absolute(value: Path | str) -> str:
    return value if isinstance(value, str) else str(value.absolute())
