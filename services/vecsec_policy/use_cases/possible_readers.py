"""Who could read a row: of which roles, cleared how far, and, where it names its readers, who these are.

Every role is tried at every clearance by deciding, so that whatever rules say is in the answer. Rules that look at a
caller's subject, or at what else a token says, may let through others than those that were tried.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.folder.principals import Caller
from vecsec_policy.in_force.evaluation import TenantAccess

_MOST_ROLES = 50
_MOST_PEOPLE = 200
"""In one answer: a group may have as many people as a company."""
_ANYBODY = "anybody"
_GROUP, _USER = "group:", "user:"


@dataclass(frozen=True, slots=True)
class ReadingRole:
    """Callers of a role who could read the row, of the tenant's own if not of all."""

    role: str
    least_clearance: Sensitivity


@dataclass(frozen=True, slots=True)
class NamedReader:
    """Somebody whom the row names as a reader."""

    name: str
    people: Sequence[str]
    """Of a group, by memberships.yaml; tokens may say that there are others."""
    people_count: int
    """Of all of them; `people` may be fewer."""


@dataclass(frozen=True, slots=True)
class PossibleReaders:
    """The answer."""

    roles: Sequence[ReadingRole]
    named: Sequence[NamedReader] | None
    """None if the row names no readers: then all of these roles."""


async def find_possible_readers(access: TenantAccess, label: Label) -> PossibleReaders:
    """Who could do to the row what was asked, which is to read it; a decision for each role and clearance, 0.3 ms, and
    other calls between the roles."""
    readers = dict(label.attributes).get(READERS)
    names = sorted(readers) if isinstance(readers, frozenset) else None
    roles = []
    for role in list(access.policy.roles.values())[:_MOST_ROLES]:
        least = _least_clearance(access, label, replace(_some_reader(access, names or ()), role=role))
        if least is not None:
            roles.append(ReadingRole(role.name, least))
        await asyncio.sleep(0)
    return PossibleReaders(roles, None if names is None else _named(access, names))


def _some_reader(access: TenantAccess, names: Sequence[str]) -> Caller:
    """A caller of the tenant whom all of these names name, but for other people than one."""
    subjects = [name.removeprefix(_USER) for name in names if name.startswith(_USER)]
    groups = tuple(sorted(name.removeprefix(_GROUP) for name in names if name.startswith(_GROUP)))
    return replace(
        access.caller,
        subject=subjects[0] if subjects and not groups else _ANYBODY,
        tenant=access.target,
        groups=groups,
        attributes=(),
    )


def _least_clearance(access: TenantAccess, label: Label, caller: Caller) -> Sensitivity | None:
    engine = access.policy.engine
    for clearance in Sensitivity:
        if clearance > caller.role.max_clearance:
            return None
        cleared = replace(caller, clearance=clearance)
        [entry] = engine.decide_entry(cleared, access.target, (access.action,))
        if entry.allowed and engine.decide_rows(cleared, access.target, access.action, [label])[0].allowed:
            return clearance
    return None


def _named(access: TenantAccess, names: Sequence[str]) -> list[NamedReader]:
    # Who belongs to which group is the tenant's own affair, whoever else may configure it.
    is_own = access.caller.tenant.tenant_id == access.target.tenant_id
    room = _MOST_PEOPLE
    found = []
    for name in names:
        people = (
            access.policy.memberships.people_of(access.target.tenant_id, name.removeprefix(_GROUP))
            if (is_own and name.startswith(_GROUP))
            else []
        )
        shown = [subject if not issuer else f"{subject} ({issuer})" for subject, issuer in people[:room]]
        room -= len(shown)
        found.append(NamedReader(name, shown, len(people)))
    return found
