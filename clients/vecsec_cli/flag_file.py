"""The live flag in flagd's format: which tenants get real retrieval.

The file may hold other flags and notes; they stay. Of our own flag only the targeting that this module writes is
understood; an operator's own rule is left to the operator.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vecsec_cli import state_files
from vecsec_cli.failures import CommandFailure

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


def read_setting(path: Path) -> FlagSetting | None:
    """What the file says; None if there is no file, or it leaves our flag to the services' environment.

    Raises:
        CommandFailure: if the file cannot be understood.
    """
    flag = _read_document(path)["flags"].get(FLAG_KEY)
    return None if flag is None or flag.get("state") != "ENABLED" else _setting(flag, path)


def write_setting(path: Path, setting: FlagSetting) -> None:
    """Put a setting into the file; whatever else it holds stays.

    Raises:
        CommandFailure: if the file cannot be understood.
    """
    document = _read_document(path)
    existing = document["flags"].get(FLAG_KEY) or {}
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
    state_files.replace(path, (json.dumps(document, indent=2) + "\n").encode())


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"$schema": _SCHEMA, "flags": {}}
    except (OSError, ValueError) as error:
        raise CommandFailure(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise CommandFailure(f"{path} is not a flag file: it must be an object with an object `flags` in it")
    return document


def _setting(flag: object, path: Path) -> FlagSetting:
    """Read our flag.

    Raises:
        CommandFailure: if it holds what this command did not write.
    """
    own = CommandFailure(
        f"{path}: the flag {FLAG_KEY} has rules that this command did not write",
        hint="edit the file by hand; the services pick it up at once",
    )
    if not isinstance(flag, dict) or flag.get("variants") != {"on": True, "off": False}:
        raise own
    if flag.get("defaultVariant") not in {"on", "off"}:
        raise own
    rules = (flag.get("targeting") or {"if": []}).get("if")
    if not isinstance(rules, list) or len(rules) % 2:
        raise own
    tenants: dict[str, bool] = {}
    for condition, variant in zip(rules[::2], rules[1::2], strict=True):
        match condition:
            case {"in": [{"var": "tenant_id"}, [*tenant_ids]]} if variant in {"on", "off"}:
                tenants.update({str(tenant_id): variant == "on" for tenant_id in tenant_ids})
            case _:
                raise own
    return FlagSetting(flag["defaultVariant"] == "on", tenants)
