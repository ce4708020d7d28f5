"""The values that decided: what the determining rules look at, as it was in this decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity
from vecsec_policy.cedar.ast import AttributePath
from vecsec_policy.cedar.rules import Effect, Rule, Verdict
from vecsec_policy.folder.principals import Role, Tenant
from vecsec_policy.in_force.evaluation import TenantAccess

ABSENT = "(absent)"
_MOST_MEMBERS = 20
"""Of a set of the caller's, which may have a thousand."""


@dataclass(frozen=True, slots=True)
class DecidingValue:
    """An attribute as rules write it, such as `principal.clearance`, and what it was."""

    attribute: str
    value: str


def deciding_values(access: TenantAccess, label: Label | None, verdict: Verdict) -> Sequence[DecidingValue]:
    """What the determining rules of a verdict looked at. Where no rule permits, the rules that could have count."""
    rules = access.policy.engine.rules
    determining = [rules[rule_id] for rule_id in verdict.rule_ids if rule_id in rules]
    considered: Sequence[Rule] = determining or [rule for rule in rules.values() if rule.effect is Effect.PERMIT]
    paths = {path for rule in considered for path in rule.mentions.attributes}
    is_about_row = access.entry.allowed
    return tuple(
        DecidingValue(".".join(path), _value(access, label if is_about_row else None, path)) for path in sorted(paths)
    )


def as_text(value: object) -> str:
    """A value for people; sets in order, and what is not there says so."""
    if value is None:
        return ABSENT
    if isinstance(value, frozenset):
        return "[" + ", ".join(sorted(str(member) for member in value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.name if isinstance(value, Sensitivity) else str(value)


def _value(access: TenantAccess, label: Label | None, path: AttributePath) -> str:
    variable, *below = path
    if variable == "action":
        return access.action.value
    if variable == "principal":
        return _of_caller(access, below, label)
    if variable == "context":
        return str(access.caller.today) if below == ["today"] else _of_tenant(access.target, below[1:])
    return _of_tenant(access.target, below) if label is None else _of_row(label, below)


def _of_caller(access: TenantAccess, below: Sequence[str], label: Label | None) -> str:
    caller = access.caller
    match below:
        case ["tenant", *further]:
            return _of_tenant(caller.tenant, further)
        case ["role", *further]:
            return _of_role(caller.role, further)
        case [name]:
            known: dict[str, object] = {
                "subject": caller.subject,
                "clearance": caller.clearance,
                "groups": caller.groups,
                "reader_names": caller.reader_names,
            }
            value = known.get(name, dict(caller.attributes).get(name))
            return _in_short(value, label) if isinstance(value, list | tuple) else as_text(value)
        case _:
            return f"{caller.tenant.tenant_id}/{caller.subject}"


def _in_short(members: Sequence[str], label: Label | None) -> str:
    """A set of the caller's; of a large one those members that the row has, and some others."""
    row = frozenset[str]().union(
        *(value for _, value in (label.attributes if label is not None else ()) if isinstance(value, frozenset))
    )
    first = sorted(members, key=lambda member: (member not in row, member))[:_MOST_MEMBERS]
    more = len(members) - len(first)
    return f"[{', '.join(first)}{f', and {more:,} more' if more else ''}]"


def _of_tenant(tenant: Tenant, below: Sequence[str]) -> str:
    return as_text(tenant.topics) if list(below) == ["topics"] else tenant.tenant_id


def _of_role(role: Role, below: Sequence[str]) -> str:
    return as_text(getattr(role, below[0], ABSENT)) if below else role.name


def _of_row(label: Label, below: Sequence[str]) -> str:
    if not below:
        return label.to_json()
    own: dict[str, AttributeValue | Sensitivity | None] = {
        "tenant_id": label.tenant_id or None,
        "sensitivity": label.sensitivity,
        "topics": label.topics or None,
    }
    return as_text({**dict(label.attributes), **own}.get(below[0]))
