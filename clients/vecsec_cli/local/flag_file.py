"""The live flag in flagd's format: which tenants get real retrieval.

The file may hold other flags and notes; they stay. Of our own flag only the targeting that this module writes is
understood; an operator's own rule is left to the operator.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vecsec_cli.local import state_files
from vecsec_cli.terminal.failures import CommandFailure

FLAG_KEY = "use_real_vector_retrieval"
TENANT_ATTRIBUTE = "tenant_id"
_SCHEMA = "https://flagd.dev/schema/v0/flags.json"


@dataclass(frozen=True, slots=True)
class FlagSetting:
    """For whom real retrieval is on."""

    default: bool
    """For tenants that are not named."""
    tenants: Mapping[str, bool] = field(default_factory=dict)

    def is_on(self, tenant_id: str) -> bool:
        """Whether it is on for this tenant."""
        return self.tenants.get(tenant_id, self.default)

    def with_tenants(self, tenant_ids: Collection[str], is_on: bool) -> "FlagSetting":
        """The setting after these tenants were set; one that agrees with the default needs no entry."""
        tenants = {**self.tenants, **dict.fromkeys(tenant_ids, is_on)}
        return FlagSetting(self.default, {name: value for name, value in tenants.items() if value != self.default})


def empty_document() -> dict[str, Any]:
    """No rule: the environment's USE_REAL_VECTOR_RETRIEVAL counts until the operator writes one (`vecsec flag set`)."""
    return {"$schema": _SCHEMA, "flags": {}}


def read_setting(path: Path) -> FlagSetting | None:
    """What the file says; None if it leaves our flag to the services' environment, or is not there.

    Raises:
        CommandFailure: if the file cannot be understood.
    """
    flag = _own_flag(_read_document(path), path)
    return _setting(flag, path) if flag.get("state") == "ENABLED" else None


def setting_before_change(path: Path) -> FlagSetting:
    """What holds before a change: without a word of ours in the file all are on; without the file, which services take
    for a switch that was lost, all are off.

    Raises:
        CommandFailure: if the file cannot be understood.
    """
    return read_setting(path) or FlagSetting(default=path.exists())


def write_setting(path: Path, setting: FlagSetting) -> None:
    """Put a setting into the file; whatever else it holds stays.

    Raises:
        CommandFailure: if the file cannot be understood.
    """
    document = _read_document(path)
    existing = _own_flag(document, path)
    if existing:
        _setting(existing, path)
    rules: list[object] = []
    for variant, is_on in (("off", False), ("on", True)):
        tenant_ids = sorted(name for name, value in setting.tenants.items() if value is is_on)
        if tenant_ids:
            rules += [{"in": [{"var": TENANT_ATTRIBUTE}, tenant_ids]}, variant]
    flag = {
        **existing,
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "on" if setting.default else "off",
    }
    flag.pop("targeting", None)
    if rules:
        flag["targeting"] = {"if": rules}
    document["flags"][FLAG_KEY] = flag
    path.parent.mkdir(parents=True, exist_ok=True)
    state_files.replace(path, state_files.as_json(document))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return empty_document()
    except (OSError, ValueError) as error:
        raise CommandFailure(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise CommandFailure(f"{path} is not a flag file: it must be an object with an object `flags` in it")
    return document


def _own_flag(document: dict[str, Any], path: Path) -> dict[str, Any]:
    flag = document["flags"].get(FLAG_KEY, {})
    if not isinstance(flag, dict):
        raise _not_ours(path)
    return flag


def _setting(flag: dict[str, Any], path: Path) -> FlagSetting:
    """Read our flag.

    Raises:
        CommandFailure: if it holds what this command did not write.
    """
    match flag:
        case {"variants": {"on": True, "off": False, **others}, "defaultVariant": "on" | "off" as default} if (
            not others
        ):
            return FlagSetting(default == "on", _tenants(flag.get("targeting"), path))
        case _:
            raise _not_ours(path)


def _tenants(targeting: object, path: Path) -> dict[str, bool]:
    match targeting:
        case None:
            return {}
        case {"if": [*rules], **others} if not others and len(rules) % 2 == 0:
            tenants: dict[str, bool] = {}
            for rule in zip(rules[::2], rules[1::2], strict=True):
                match rule:
                    case ({"in": [{"var": "tenant_id"}, [*tenant_ids]]}, "on" | "off" as variant):
                        tenants.update({str(tenant_id): variant == "on" for tenant_id in tenant_ids})
                    case _:
                        raise _not_ours(path)
            return tenants
        case _:
            raise _not_ours(path)


def _not_ours(path: Path) -> CommandFailure:
    return CommandFailure(
        f"{path}: the flag {FLAG_KEY} holds what this command did not write, so it leaves it alone",
        hint="edit the file by hand; the services pick it up within a second",
    )
