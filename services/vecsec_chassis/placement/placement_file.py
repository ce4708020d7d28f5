"""The placement file (`VECSEC_PLACEMENT_FILE`, YAML): read strictly, refused in one line.

epoch: 1
shards:
  - name: shard-0
    address: retrieval-0.retrieval:50052
  - name: shard-1
    address: retrieval-1.retrieval:50052
pinned:
  tenant_a: shard-1
"""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from vecsec_chassis.auth.issuers_text import strictly_parsed
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.file_watch import FileContent, demand_content
from vecsec_chassis.placement.placement import Placement, Shard

SETTING = "VECSEC_PLACEMENT_FILE"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SYNTAX = "small letters, digits and hyphens, 63 at most, as a pod's name"
_HIGHEST_EPOCH = 2**53
"""What every reader of numbers reads alike."""
_MOST_SHARDS = 256


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: StrictStr
    address: Annotated[StrictStr, Field(min_length=1)]
    draining: StrictBool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: Annotated[StrictInt, Field(ge=1, le=_HIGHEST_EPOCH)]
    shards: Annotated[list[_Entry], Field(max_length=_MOST_SHARDS)]
    pinned: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    lost: list[StrictStr] = Field(default_factory=list)


def load_placement(path: Path) -> Placement:
    """The placement that the file says.

    Raises:
        ConfigurationError: naming setting, file and what is wrong.
    """
    return parse_placement(FileContent(content=demand_content(path, f"{SETTING}={path}")), path)


def parse_placement(found: FileContent, path: Path) -> Placement:
    """The placement that a file's content says.

    Raises:
        ConfigurationError: naming setting, file and what is wrong.
    """
    if found.content is None:
        raise ConfigurationError(f"{SETTING}={path}: {found.problem or 'the file is gone'}; put it back")
    try:
        return _placement(_File.model_validate(strictly_parsed(found.content, is_yaml=True) or {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {_words(first['type'], first['msg'])}"
    except yaml.YAMLError as error:
        reason = f"not YAML: {' '.join(str(error).split())}"
    except RecursionError:
        reason = "is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(f"{SETTING}={path}: {reason}")


def _words(kind: str, message: str) -> str:
    return {"missing": "is missing", "extra_forbidden": "is no field of a placement"}.get(kind, message)


def _placement(file: _File) -> Placement:
    """Raises ValueError in words for whoever wrote the file."""
    if not file.shards:
        raise ValueError("shards: names no shard; name at least one with its address")
    _demand_names(file.shards)
    names = [entry.name for entry in file.shards]
    draining = {entry.name for entry in file.shards if entry.draining}
    if draining == set(names):
        raise ValueError("shards: all of them are draining; one at least has to take new tenants")
    for name in file.lost:
        if name in names:
            raise ValueError(f"shard {name!r} is lost and among the shards; it is one or the other")
    for tenant_id, shard in file.pinned.items():
        _demand_pin(tenant_id, shard, names, draining)
    shards = tuple(Shard(entry.name, entry.address, entry.draining) for entry in file.shards)
    return Placement(file.epoch, shards, file.pinned, frozenset(file.lost))


def _demand_names(entries: list[_Entry]) -> None:
    """Raises ValueError if names or addresses are not what they should be."""
    for entry in entries:
        if not _NAME.fullmatch(entry.name):
            raise ValueError(f"shard {entry.name!r}: a shard's name is {_SYNTAX}")
    twice = _first_twice([entry.name for entry in entries])
    if twice is not None:
        raise ValueError(f"shard {twice!r} is named twice; each has a name of its own")
    address = _first_twice([entry.address for entry in entries])
    if address is not None:
        sharing = [entry.name for entry in entries if entry.address == address]
        raise ValueError(
            f"shards {sharing[0]!r} and {sharing[1]!r} have one address, {address!r}; each is a service of its own"
        )


def _demand_pin(tenant_id: str, shard: str, names: list[str], draining: set[str]) -> None:
    """Raises ValueError if the tenant cannot be pinned there."""
    if not is_tenant_id(tenant_id):
        raise ValueError(f"pinned: {tenant_id!r} is no tenant id")
    if shard not in names:
        raise ValueError(f"tenant {tenant_id!r} is pinned to shard {shard!r}, which is not among the shards")
    if shard in draining:
        raise ValueError(f"tenant {tenant_id!r} is pinned to shard {shard!r}, which is draining")


def _first_twice(values: list[str]) -> str | None:
    return next((value for value, count in Counter(values).items() if count > 1), None)


def demand_successor(new: Placement, known: Placement) -> None:
    """Refuse a placement that says otherwise who is where, under an epoch that is no news.

    Raises:
        ConfigurationError: saying which epoch it needs.
    """
    if new.epoch < known.epoch or (new.epoch == known.epoch and not new.places_like(known)):
        raise ConfigurationError(
            f"epoch {new.epoch} is not above {known.epoch}, that of the placement in force; whenever shards or pins "
            f"change the epoch grows: write {known.epoch + 1}"
        )


def demand_named(placement: Placement, shard: str) -> None:
    """Refuse a placement that does not name the shard that this service is.

    Raises:
        ConfigurationError: naming the shards that there are.
    """
    if placement.shard(shard) is None:
        named = ", ".join(each.name for each in placement.shards)
        raise ConfigurationError(
            f"VECSEC_SHARD={shard}: the placement names no such shard ({named}); add it there, or do not start it"
        )
