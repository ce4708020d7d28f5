"""What the services are told by `vecsec up`: defaults from the state directory, under whatever is already set."""

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from vecsec_cli.local import known_stores
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

_NAMES_IN_DOTENV = ("USE_REAL_VECTOR_RETRIEVAL", "VECSEC_", "CHROMA_", "OTEL_")
PLACEMENT_FILE = "VECSEC_PLACEMENT_FILE"
_LOOPBACK = "127.0.0.1"
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 (compared with, not bound to)


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three services as a process."""

    name: str
    """Short: gateway, retrieval or policy; `retrieval-1` is a further shard."""
    port: int
    metrics_port: int
    port_option: str
    """The option of `vecsec up` that sets the port."""
    metrics_option: str
    """The option that sets the metrics port, and by how much this service's lies above it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What this process alone is told."""

    @property
    def kind(self) -> str:
        """Gateway, retrieval or policy, though there may be several of it."""
        return self.name.partition("-")[0]

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"vecsec_{self.kind}"


_DEFAULT_PORTS = {"policy": 50053, "retrieval": 50052, "gateway": 50051}
"""In the order in which the services start; they stop in the reverse order."""
_METRICS_OFFSETS = {"gateway": 0, "retrieval": 1, "policy": 2}
_DEFAULT_METRICS_PORT = 9091


def services_of(
    settings: Mapping[str, str], ports: Mapping[str, int | None] | None = None, metrics_port: int | None = None
) -> tuple[Service, ...]:
    """The services, in the order in which they start.

    Args:
        settings: of the operator, by the names of environment variables.
        ports: by the services' short names; where None, the settings and then the defaults count.
        metrics_port: the gateway's; those of retrieval and policy are the next two.

    Raises:
        CommandFailure: if a setting is not a port.
    """
    return tuple(_service(name, (ports or {}).get(name), metrics_port, settings) for name in _DEFAULT_PORTS)


def _service(name: str, port: int | None, metrics_port: int | None, settings: Mapping[str, str]) -> Service:
    offset = _METRICS_OFFSETS[name]
    setting = f"VECSEC_{name.upper()}"
    return Service(
        name=name,
        port=port or _port(settings, f"{setting}_PORT", _DEFAULT_PORTS[name]),
        metrics_port=metrics_port + offset
        if metrics_port
        else _port(settings, f"{setting}_METRICS_PORT", _DEFAULT_METRICS_PORT + offset),
        port_option=f"--{name}-port",
        metrics_option=f"--metrics-port (plus {offset})" if offset else "--metrics-port",
    )


def operator_settings() -> dict[str, str]:
    """The environment, over what is VecSec's in `.env` of the current folder, which the services read too.

    Nothing else is taken from there: a `PYTHONPATH` in a folder that came from elsewhere would run its code in the
    services.
    """
    dotenv = {name: value for name, value in read_dotenv(Path(".env")).items() if name.startswith(_NAMES_IN_DOTENV)}
    return dotenv | os.environ


def bind_address(settings: Mapping[str, str]) -> str:
    """The address that the services listen on."""
    return settings.get("VECSEC_BIND_ADDRESS", _LOOPBACK)


def reachable_host(settings: Mapping[str, str]) -> str:
    """The host under which this machine reaches its own services."""
    address = bind_address(settings)
    return _LOOPBACK if address in _ANY_ADDRESS else address


def store_path(settings: Mapping[str, str], state: StateDirectory) -> Path | None:
    """Where the embedded store is; None if the rows are on a ChromaDB server."""
    return None if settings.get("CHROMA_CONNECTION_STRING") else Path(settings.get("CHROMA_PATH") or state.chroma)


def service_environment(
    settings: Mapping[str, str], state: StateDirectory, services: Iterable[Service]
) -> dict[str, str]:
    """The environment of the services: what the operator has set stays, the state directory fills the rest."""
    defaults = {
        "VECSEC_AUDIT_FILE": state.audit_file,
        "VECSEC_FLAG_FILE": state.flags_file,
        "VECSEC_GRANT_JWKS": state.grant_jwks,
        "VECSEC_GRANT_KEY_FILE": state.grant_key,
        "VECSEC_ISSUERS_FILE": state.issuers_file,
        "VECSEC_POLICY_DIR": state.policy,
        "VECSEC_POLICY_ROLLOUT_FILE": state.rollout_file,
    }
    store = store_path(settings, state)
    if store is not None:
        defaults["CHROMA_PATH"] = store
    environment = {name: str(path.absolute()) for name, path in defaults.items() if not settings.get(name)}
    if store is not None and not settings.get(known_stores.NEW_STORE_UNTIL):
        environment |= known_stores.leave_to_begin(state, store)
    for service in services:
        if service.name != service.kind:
            continue  # it is told its ports itself
        if PLACEMENT_FILE in service.environment:
            environment[PLACEMENT_FILE] = service.environment[PLACEMENT_FILE]
        setting = f"VECSEC_{service.name.upper()}"
        environment[f"{setting}_PORT"] = str(service.port)
        environment[f"{setting}_METRICS_PORT"] = str(service.metrics_port)
        environment[f"{setting}_ADDRESS"] = f"{reachable_host(settings)}:{service.port}"
    return dict(settings) | environment


def _port(settings: Mapping[str, str], name: str, default: int) -> int:
    value = settings.get(name) or str(default)
    if not value.isdecimal():
        raise CommandFailure(f"{name}={value!r} is not a port")
    return int(value)


def read_dotenv(path: Path) -> dict[str, str]:
    """The settings of a `.env`, read whole or not at all, as the services do: the library passes over what it cannot
    read. None, if there is no file.

    Raises:
        CommandFailure: naming the line that is not one.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailure(f"{path.absolute()}: {reason}", hint="correct it, or take it away") from error
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key and line.value is None):
            raise CommandFailure(
                f"{path.absolute()}:{line.original.line}: not NAME=value, or half of it",
                hint="write the whole line again",
            )
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}
