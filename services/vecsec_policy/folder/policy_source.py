"""Reads a policy folder: rules and schema in Cedar, roles, tenants and memberships as YAML or JSON.

Only the files' own form is checked here; what needs Cedar itself is checked by `cedar.engine`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TypeVar

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.identifiers import TOPIC, is_tenant_id
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import GENEROUS, TenantLimits
from vecsec_policy.folder.cedar_text import SourcedPolicy, split_policies
from vecsec_policy.folder.limits import read_default_limits, read_limits
from vecsec_policy.folder.memberships import MEMBERSHIPS, Memberships, read_memberships
from vecsec_policy.folder.positioned_yaml import Positioned, read_text
from vecsec_policy.folder.principals import Role, Tenant

SCHEMA_FILE = "schema.cedarschema"
_DATA_SUFFIXES = (".yaml", ".yml", ".json")
POLICY_SUFFIXES = (".cedar", ".cedarschema", *_DATA_SUFFIXES)
_ROLE_FLAGS = (
    "reads_across_tenants",
    "embeddings_across_tenants",
    "ignores_topic_scope",
    "ignores_clearance",
    "ignores_readers",
)
_ROLE_FIELDS = frozenset({"operations", "max_clearance", *_ROLE_FLAGS})

Entry = TypeVar("Entry", Role, Tenant)


class Diagnostics:
    """What is wrong with a policy folder, in the order in which it was found; each complaint is one line with file,
    line and reason. A start names the first, `vecsec policy check` all of them.

    As a context (`with diagnostics:`) it notes a complaint that the block ends with; what follows the block goes on.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigurationError):
            return False
        self.found.append(str(error))
        return True

    def raise_first(self) -> None:
        """End here if anything is wrong.

        Raises:
            ConfigurationError: the first complaint, and how many more there are.
        """
        if not self.found:
            return
        more = len(self.found) - 1
        raise ConfigurationError(
            self.found[0] + (f" (and {more} more: `vecsec policy check` lists them)" if more else "")
        )


@dataclass(frozen=True, slots=True)
class PolicySource:
    """Everything a policy folder says, as read at one moment."""

    version: str
    """Hash of the names and bytes of all files: two folders with the same version decide the same."""
    schema_path: Path
    schema_text: str
    policies: tuple[SourcedPolicy, ...]
    roles: Mapping[str, Role]
    tenants: Mapping[str, Tenant]
    memberships: Memberships
    """Empty where the folder has no such file."""
    places: Mapping[str, str]
    """Where each role and tenant stands, as `file:line`, by `role/<name>` and `tenant/<id>`."""


def folder_version(folder: Path) -> str:
    """The version that a policy folder has, whether or not its files are correct.

    Raises:
        ConfigurationError: if a file is missing or cannot be read.
    """
    return _content_hash(_texts(folder))


def read_policy_source(folder: Path, diagnostics: Diagnostics) -> PolicySource | None:
    """Read what can be read of a policy folder and note what is wrong with the rest; None if a whole file is missing.

    Roles and tenants that are wrong are left out of the answer, so it may decide only if nothing was noted.
    """
    with diagnostics:
        texts = _texts(folder)
        memberships = next((path for path in texts if path.stem == MEMBERSHIPS and path.suffix in _DATA_SUFFIXES), None)
        schema, *rules, roles, tenants = (path for path in texts if path != memberships)
        places: dict[str, str] = {}
        source = PolicySource(
            version=_content_hash(texts),
            schema_path=schema,
            schema_text=texts[schema],
            policies=tuple(policy for path in rules for policy in split_policies(path, texts[path])),
            roles=MappingProxyType(
                _read_entries("role", roles, texts[roles], _read_role, diagnostics=diagnostics, places=places)
            ),
            tenants=MappingProxyType(_read_tenants(tenants, texts[tenants], diagnostics=diagnostics, places=places)),
            memberships=Memberships(),
            places=MappingProxyType(places),
        )
        with diagnostics:
            if memberships is not None:
                found = read_memberships(memberships, texts[memberships], source.tenants)
                return replace(source, memberships=replace(found, changed_at=_changed_at(memberships)))
        return source
    return None


def _texts(folder: Path) -> dict[Path, str]:
    """The files of a policy folder: schema, rules (one or more), roles, tenants and, if any, memberships, in this
    order. Each is read once, so that the version is the hash of exactly what is parsed, also while somebody saves."""
    if not folder.is_dir():
        reason = "a file, not the folder of a policy" if folder.is_file() else "no such folder"
        raise ConfigurationError(f"{folder}: {reason}")
    rules = sorted(folder.glob("*.cedar"))
    if not rules:
        raise ConfigurationError(f"{folder}: holds no *.cedar file; without rules nobody may do anything")
    paths = [folder / SCHEMA_FILE, *rules, _data_file(folder, "roles"), _data_file(folder, "tenants")]
    if any((folder / f"{MEMBERSHIPS}{suffix}").exists() for suffix in _DATA_SUFFIXES):
        paths.append(_data_file(folder, MEMBERSHIPS))
    return {path: read_text(path) for path in paths}


def _changed_at(path: Path) -> float | None:
    """When a file that was read was written; None if it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _data_file(folder: Path, name: str) -> Path:
    found = [path for suffix in _DATA_SUFFIXES if (path := folder / f"{name}{suffix}").exists()]
    if len(found) != 1:
        wanted = " or ".join(f"{name}{suffix}" for suffix in _DATA_SUFFIXES)
        problem = "missing" if not found else "there twice: " + ", ".join(path.name for path in found)
        raise ConfigurationError(f"{folder}: {wanted} is {problem}")
    return found[0]


def _content_hash(texts: Mapping[Path, str]) -> str:
    digest = hashlib.sha256()
    for path, text in texts.items():
        content = text.encode()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def _read_entries(
    kind: str,
    path: Path,
    text: str,
    read: Callable[[str, Positioned, Positioned], Entry],
    *,
    begin: Callable[[Mapping[str, Positioned]], None] = lambda _top: None,
    further: frozenset[str] = frozenset(),
    diagnostics: Diagnostics,
    places: dict[str, str],
) -> dict[str, Entry]:
    """What the file of all roles or of all tenants lists, as far as it is right; `kind` is role or tenant. `read` gets
    an entry's name, the name's place and the value; before, `begin` gets what the file may have beside the list, under
    `further` names."""
    entries: dict[str, Entry] = {}
    with diagnostics:
        root = Positioned.parse(path, text)
        top = root.fields(f"the {kind}s file", frozenset({f"{kind}s"}) | further)
        with diagnostics:
            begin(top)
        listed = top[f"{kind}s"].entries(f"{kind}s") if f"{kind}s" in top else {}
        if not listed:
            root.refuse(f"the {kind}s file lists no {kind} under `{kind}s:`")
        for name, (key, value) in listed.items():
            places[f"{kind}/{name}"] = key.place
            with diagnostics:
                entries[name] = read(name, key, value)
    return entries


def _read_role(name: str, _key: Positioned, value: Positioned) -> Role:
    what = f"role {name!r}"
    fields = value.fields(what, _ROLE_FIELDS)
    for required in ("operations", "max_clearance"):
        if required not in fields:
            value.refuse(f"{what} lacks {required}")
    flags = {flag: fields[flag].boolean(f"{flag} of {what}") for flag in _ROLE_FLAGS if flag in fields}
    return Role(
        name=name,
        operations=frozenset(_read_operation(item) for item in fields["operations"].items(f"operations of {what}")),
        max_clearance=_read_sensitivity(fields["max_clearance"], f"max_clearance of {what}"),
        **flags,
    )


def _read_operation(item: Positioned) -> Action:
    name = item.text("an operation")
    if name not in {action.value for action in Action}:
        item.refuse(f"unknown operation {name!r}; known are {', '.join(Action)}")
    return Action(name)


def _read_sensitivity(value: Positioned, what: str) -> Sensitivity:
    name = value.text(what)
    if name not in Sensitivity.__members__:
        value.refuse(f"unknown sensitivity {name!r}; known are {', '.join(Sensitivity.__members__)}")
    return Sensitivity[name]


def _read_tenants(path: Path, text: str, *, diagnostics: Diagnostics, places: dict[str, str]) -> dict[str, Tenant]:
    defaults = GENEROUS

    def begin(top: Mapping[str, Positioned]) -> None:
        nonlocal defaults
        defaults = read_default_limits(top)

    return _read_entries(
        "tenant",
        path,
        text,
        lambda name, key, value: _read_tenant(name, key, value, defaults),
        begin=begin,
        further=frozenset({"defaults"}),
        diagnostics=diagnostics,
        places=places,
    )


def _read_tenant(tenant_id: str, key: Positioned, value: Positioned, defaults: TenantLimits) -> Tenant:
    if not is_tenant_id(tenant_id):
        key.refuse(f"malformed tenant id {tenant_id!r}: 1 to 63 of a-z, 0-9, '_', '-', and no reserved device name")
    what = f"tenant {tenant_id!r}"
    fields = value.fields(what, frozenset({"topics", "limits"}))
    topics: set[str] = set()
    for item in fields["topics"].items(f"topics of {what}") if "topics" in fields else ():
        topic = item.text(f"a topic of {what}")
        if TOPIC.fullmatch(topic) is None:
            item.refuse(f"malformed topic {topic!r} of {what}: 1 to 64 of a-z, 0-9, '_', '.', '-'")
        topics.add(topic)
    if not topics:
        value.refuse(f"{what} has no topics, so its callers could see nothing; list them under `topics:`")
    limits = read_limits(fields["limits"], what, defaults) if "limits" in fields else defaults
    return Tenant(tenant_id, frozenset(topics), limits)
