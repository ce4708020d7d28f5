"""Reads a policy folder: rules and schema in Cedar, roles and tenants as YAML or JSON.

Only the files' own form is checked here; what needs Cedar itself is checked by `cedar_engine`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vecsec_chassis.access import Action
from vecsec_chassis.errors import StartupError
from vecsec_chassis.identifiers import TOPIC, is_tenant_id
from vecsec_chassis.labels import Sensitivity
from vecsec_policy.cedar_text import PolicyText, split_policies
from vecsec_policy.positioned_yaml import Positioned, read_text
from vecsec_policy.principals import Role, Tenant

SCHEMA_FILE = "schema.cedarschema"
_DATA_SUFFIXES = (".yaml", ".yml", ".json")
_ROLE_FLAGS = ("reads_across_tenants", "ignores_topic_scope", "ignores_clearance")
_ROLE_FIELDS = frozenset({"operations", "max_clearance", *_ROLE_FLAGS})


@dataclass(frozen=True, slots=True)
class SourcedPolicy:
    """One policy and the file it comes from."""

    path: Path
    policy: PolicyText

    @property
    def place(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.policy.line}"


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


def load_policy_source(folder: Path) -> PolicySource:
    """Read a policy folder.

    Raises:
        StartupError: in one line with file, line and reason.
    """
    if not folder.is_dir():
        raise StartupError(f"VECSEC_POLICY_DIR={folder}: no such folder")
    schema_path = folder / SCHEMA_FILE
    rule_paths = sorted(folder.glob("*.cedar"))
    if not rule_paths:
        raise StartupError(f"VECSEC_POLICY_DIR={folder}: holds no *.cedar file; without rules nobody may do anything")
    roles_path = _data_file(folder, "roles")
    tenants_path = _data_file(folder, "tenants")
    # Each file is read once, so that the version is the hash of exactly what is parsed, also while somebody saves.
    texts = {path: read_text(path) for path in (schema_path, *rule_paths, roles_path, tenants_path)}
    return PolicySource(
        version=_content_hash(texts),
        schema_path=schema_path,
        schema_text=texts[schema_path],
        policies=tuple(SourcedPolicy(path, policy) for path in rule_paths for policy in split_policies(texts[path])),
        roles=MappingProxyType(_read_roles(Positioned.parse(roles_path, texts[roles_path]))),
        tenants=MappingProxyType(_read_tenants(Positioned.parse(tenants_path, texts[tenants_path]))),
    )


def _data_file(folder: Path, name: str) -> Path:
    found = [path for suffix in _DATA_SUFFIXES if (path := folder / f"{name}{suffix}").exists()]
    if len(found) != 1:
        wanted = " or ".join(f"{name}{suffix}" for suffix in _DATA_SUFFIXES)
        problem = "missing" if not found else "there twice: " + ", ".join(path.name for path in found)
        raise StartupError(f"VECSEC_POLICY_DIR={folder}: {wanted} is {problem}")
    return found[0]


def _content_hash(texts: Mapping[Path, str]) -> str:
    digest = hashlib.sha256()
    for path, text in texts.items():
        content = text.encode()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def _read_roles(root: Positioned) -> dict[str, Role]:
    top = root.fields("the roles file", frozenset({"roles"}))
    entries = top["roles"].entries("roles") if "roles" in top else {}
    if not entries:
        root.refuse("the roles file lists no role under `roles:`")
    return {name: _read_role(name, value) for name, (_, value) in entries.items()}


def _read_role(name: str, value: Positioned) -> Role:
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


def _read_tenants(root: Positioned) -> dict[str, Tenant]:
    top = root.fields("the tenants file", frozenset({"tenants"}))
    entries = top["tenants"].entries("tenants") if "tenants" in top else {}
    if not entries:
        root.refuse("the tenants file lists no tenant under `tenants:`")
    tenants = {}
    for tenant_id, (key, value) in entries.items():
        if not is_tenant_id(tenant_id):
            key.refuse(f"malformed tenant id {tenant_id!r}: 1 to 63 of a-z, 0-9, '_', '-', and no reserved device name")
        tenants[tenant_id] = _read_tenant(tenant_id, value)
    return tenants


def _read_tenant(tenant_id: str, value: Positioned) -> Tenant:
    what = f"tenant {tenant_id!r}"
    fields = value.fields(what, frozenset({"topics"}))
    topics: set[str] = set()
    for item in fields["topics"].items(f"topics of {what}") if "topics" in fields else ():
        topic = item.text(f"a topic of {what}")
        if TOPIC.fullmatch(topic) is None:
            item.refuse(f"malformed topic {topic!r} of {what}: 1 to 64 of a-z, 0-9, '_', '.', '-'")
        topics.add(topic)
    if not topics:
        value.refuse(f"{what} has no topics, so its callers could see nothing; list them under `topics:`")
    return Tenant(tenant_id, frozenset(topics))
