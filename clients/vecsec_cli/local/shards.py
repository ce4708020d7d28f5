"""The shards of `vecsec up`: retrieval services with a store each, and the placement file that names them.

The first one is the retrieval service that there was before, with its store and its ports.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from vecsec_cli.local import known_stores, state_files
from vecsec_cli.local.service_settings import PLACEMENT_FILE, Service, reachable_host
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

_PORTS_APART = 10
_RETRIEVAL = "retrieval"


def shard_count(state: StateDirectory, settings: Mapping[str, str], wanted: int | None) -> int:
    """How many shards to start; 0 if there are none, and one retrieval service has everybody.

    Raises:
        CommandFailure: if so many cannot be, or shards would be left out that hold tenants.
    """
    there = len(_names(state))
    if wanted is None or wanted == there or (wanted == 1 and not there):
        return there
    if settings.get(PLACEMENT_FILE):
        raise CommandFailure(
            f"--shards {wanted} beside {PLACEMENT_FILE}, which names the shards already", hint="leave one of them out"
        )
    if settings.get("CHROMA_CONNECTION_STRING"):
        raise CommandFailure(
            f"--shards {wanted} beside CHROMA_CONNECTION_STRING: a ChromaDB server needs no shards",
            hint="leave one of them out",
        )
    if wanted < there:
        raise CommandFailure(
            f"--shards {wanted}, but the state directory {state.root} has {there}, which hold tenants",
            hint=f"start it with --shards {there}, or leave the option out",
        )
    return wanted


def with_shards(
    services: Iterable[Service], count: int, state: StateDirectory, settings: Mapping[str, str]
) -> tuple[Service, ...]:
    """The services, in place of retrieval so many of it, if any."""
    if not count:
        return tuple(services)
    return tuple(
        shard
        for service in services
        for shard in (
            [_shard(service, number, state, settings) for number in range(count)]
            if service.name == _RETRIEVAL
            else [service]
        )
    )


def write_placement(state: StateDirectory, settings: Mapping[str, str], services: Iterable[Service]) -> None:
    """Have the shards among these services in the placement file, under a new epoch if there are more than before."""
    host = reachable_host(settings)
    shards: list[dict[str, object]] = [
        {"name": service.environment["VECSEC_SHARD"], "address": f"{host}:{service.port}"}
        for service in services
        if "VECSEC_SHARD" in service.environment
    ]
    before = _read(state)
    if not shards or list(before.shards) == shards:
        return  # as they are
    for shard in shards:
        if shard["name"] in before.draining:
            shard["draining"] = True
    is_news = _names(state) != [shard["name"] for shard in shards]
    document = {
        "epoch": before.epoch + is_news,
        "shards": shards,
        "pinned": dict(before.pinned),
        "lost": list(before.lost),
    }
    state_files.replace(state.placement_file, state_files.as_json(document))


def shard_stores(services: Iterable[Service]) -> list[Path]:
    """Where the stores of further shards are; the first one's is CHROMA_PATH, as ever."""
    return [Path(each.environment["CHROMA_PATH"]) for each in services if "CHROMA_PATH" in each.environment]


def _shard(service: Service, number: int, state: StateDirectory, settings: Mapping[str, str]) -> Service:
    told = {"VECSEC_SHARD": f"shard-{number}", PLACEMENT_FILE: str(state.placement_file.absolute())}
    if number == 0:
        return replace(service, environment=told)
    store = state.shards / f"shard-{number}"
    port, metrics_port = service.port + number * _PORTS_APART, service.metrics_port + number * _PORTS_APART
    told |= {
        "VECSEC_RETRIEVAL_PORT": str(port),
        "VECSEC_RETRIEVAL_METRICS_PORT": str(metrics_port),
        "CHROMA_PATH": str(store.absolute()),
    }
    if not settings.get(known_stores.NEW_STORE_UNTIL):
        told |= {known_stores.NEW_STORE_UNTIL: "", **known_stores.leave_to_begin(state, store)}
    return replace(
        service,
        name=f"{_RETRIEVAL}-{number}",
        port=port,
        metrics_port=metrics_port,
        port_option=f"{service.port_option} (plus {number * _PORTS_APART})",
        environment=told,
    )


def _names(state: StateDirectory) -> list[str]:
    """Of the shards that there are."""
    return [shard["name"] for shard in _read(state).shards]


@dataclass(frozen=True, slots=True)
class _Placed:
    """What the placement file says."""

    epoch: int = 0
    shards: Sequence[Mapping[str, str]] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)
    draining: Sequence[str] = ()
    lost: Sequence[str] = ()


def _read(state: StateDirectory) -> _Placed:
    try:
        found = yaml.safe_load(state.placement_file.read_bytes())
        shards = [{"name": str(each["name"]), "address": str(each["address"])} for each in found["shards"]]
        draining = [str(each["name"]) for each in found["shards"] if each.get("draining")]
        lost = [str(each) for each in found.get("lost") or ()]
        return _Placed(int(found["epoch"]), shards, dict(found.get("pinned") or {}), draining, lost)
    except FileNotFoundError:
        return _Placed()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CommandFailure(
            f"{state.placement_file}, which says which shards there are, cannot be read",
            hint="put it back as it was, with epoch, shards and pinned",
        ) from error
