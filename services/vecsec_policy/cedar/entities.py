"""Callers, tenants and rows as Cedar entities, in Cedar's JSON format."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from vecsec_chassis.domain.access import Action, AttributeValue
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_policy.folder.principals import Caller, Role, Tenant

ACTION_TYPE = "Action"
CALLER_TYPE = "Caller"
DOCUMENT_TYPE = "Document"
ROLE_TYPE = "Role"
TENANT_TYPE = "Tenant"
_SAFE_IN_NAMES = "@+:|,"

EntityJson = dict[str, Any]


def action_uid(action: Action) -> dict[str, str]:
    """The name of an action."""
    return {"type": ACTION_TYPE, "id": action.value}


def caller_uid(caller: Caller) -> dict[str, str]:
    """The name of a caller: unambiguous, since no tenant id holds a slash. Cedar refuses some characters in names, and
    issuers put anything into subjects: those are percent-encoded (the attribute `subject` has them as they are)."""
    return {"type": CALLER_TYPE, "id": f"{caller.tenant.tenant_id}/{quote(caller.subject, safe=_SAFE_IN_NAMES)}"}


def tenant_uid(tenant: Tenant) -> dict[str, str]:
    """The name of a tenant."""
    return {"type": TENANT_TYPE, "id": tenant.tenant_id}


def in_cedar(uid: dict[str, str]) -> str:
    """A name as Cedar's own syntax writes it; all names made here do without escapes."""
    return f'{uid["type"]}::"{uid["id"]}"'


def context(caller: Caller, target: Tenant) -> dict[str, Any]:
    """What a rule knows besides the caller and the resource."""
    known: dict[str, Any] = {"target": {"__entity": tenant_uid(target)}}
    if caller.today is not None:
        known["today"] = caller.today
    return known


def role_and_tenants(role: Role, tenant: Tenant, target: Tenant) -> list[EntityJson]:
    """The entities that callers of one role and tenant share."""
    entities = [role_entity(role), tenant_entity(tenant)]
    if target.tenant_id != tenant.tenant_id:
        entities.append(tenant_entity(target))
    return entities


def caller_entity(caller: Caller, further: Mapping[str, AttributeValue] = MappingProxyType({})) -> EntityJson:
    """A caller; `further` are the attributes that not every schema declares."""
    attributes = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in further.items()},
        "subject": caller.subject,
        "tenant": {"__entity": tenant_uid(caller.tenant)},
        "role": {"__entity": _role_uid(caller.role)},
        "clearance": int(caller.clearance),
    }
    return _entity(caller_uid(caller), attributes)


def role_entity(role: Role) -> EntityJson:
    """A role."""
    attributes: dict[str, Any] = {
        "operations": [{"__entity": action_uid(action)} for action in sorted(role.operations)],
        "max_clearance": int(role.max_clearance),
        "reads_across_tenants": role.reads_across_tenants,
        "ignores_topic_scope": role.ignores_topic_scope,
        "ignores_clearance": role.ignores_clearance,
    }
    if role.ignores_readers:  # schemas of before do not declare it
        attributes["ignores_readers"] = True
    return _entity(_role_uid(role), attributes)


def tenant_entity(tenant: Tenant) -> EntityJson:
    """A tenant."""
    return _entity(tenant_uid(tenant), {"tenant_id": tenant.tenant_id, "topics": sorted(tenant.topics)})


def document_entity(number: int, label: Label) -> EntityJson:
    """A row, seen through its label. Its name is a number within one decision: rules never see a row's real id."""
    return _entity({"type": DOCUMENT_TYPE, "id": str(number)}, rule_attributes(label))


def _role_uid(role: Role) -> dict[str, str]:
    return {"type": ROLE_TYPE, "id": role.name}


def _entity(uid: dict[str, str], attributes: dict[str, Any]) -> EntityJson:
    return {"uid": uid, "attrs": attributes, "parents": []}
