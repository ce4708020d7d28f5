"""Who belongs to which group, for people whose tokens do not say so or not all of it: `memberships.yaml`.

Of each tenant it lists groups, with people and with groups whose people belong to it, too:

    tenants:
      tenant_a:
        finance:
          people: [alice, {subject: bob, issuer: "https://login.example.com"}]
          groups: [controlling]

A person is called as in rules, or by a subject in the words of an issuer that is named beside it. A group need not be
listed itself to be part of another: tokens give groups, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from vecsec_chassis.auth.caller_names import own_subject
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.readers import is_group_name
from vecsec_policy.folder.positioned_yaml import Positioned
from vecsec_policy.folder.principals import MOST_GROUPS, Tenant

MEMBERSHIPS = "memberships"
_AS_IN_RULES = ""
_LONGEST_SUBJECT = 256

Person: TypeAlias = tuple[str, str, str]
"""Tenant, subject and issuer, which is empty where the subject is what rules call the caller."""
Group: TypeAlias = tuple[str, str]
"""Tenant and name."""


@dataclass(frozen=True, slots=True)
class Memberships:
    """What the file says, with all that follows from it."""

    of_people: dict[Person, tuple[str, ...]] = field(default_factory=dict)
    """All groups of a person."""
    of_groups: dict[Group, tuple[str, ...]] = field(default_factory=dict)
    """All groups that a group is part of, directly or by others."""
    of_each_group: dict[Group, list[tuple[str, str]]] = field(default_factory=dict)
    """All people of a group. Looked for among all tenants' people it would take the longer the more these are."""
    changed_at: float | None = None
    """When the file was written, in seconds since the epoch; None without one."""

    def groups_of(self, identity: Identity) -> tuple[str, ...]:
        """All groups of a caller, by their token and by the file, sorted, each once."""
        tenant_id = identity.tenant_id
        found = {
            *identity.groups,
            *self.of_people.get((tenant_id, identity.subject, _AS_IN_RULES), ()),
            *self.of_people.get((tenant_id, own_subject(identity.subject, identity.issuer), identity.issuer), ()),
        }
        if self.of_groups:
            for name in identity.groups:
                found.update(self.of_groups.get((tenant_id, name), ()))
        return identity.groups if len(found) == len(identity.groups) else tuple(sorted(found))

    def people_of(self, tenant_id: str, group: str) -> list[tuple[str, str]]:
        """The people of a group by the file, as subject and issuer (empty for a name as in rules), sorted."""
        return self.of_each_group.get((tenant_id, group), [])


def read_memberships(path: Path, text: str, tenants: Mapping[str, Tenant]) -> Memberships:
    """Read the file.

    Raises:
        ConfigurationError: in one line with file, line and reason.
    """
    root = Positioned.parse(path, text)
    fields = root.fields("the memberships file", frozenset({"tenants"}))
    if "tenants" not in fields:
        root.refuse("the memberships file lists no tenants under `tenants:`")
    found = Memberships()
    for tenant_id, (key, value) in fields["tenants"].entries("tenants").items():
        if tenant_id not in tenants:
            key.refuse(f"the tenants file lists no tenant {tenant_id!r}")
        _read_tenant(tenant_id, value, found)
    return found


@dataclass(frozen=True, slots=True)
class _ListedGroup:
    key: Positioned
    people: Mapping[Person, Positioned]
    groups: Mapping[str, Positioned]


def _read_tenant(tenant_id: str, value: Positioned, found: Memberships) -> None:
    listed = {
        name: _read_group(tenant_id, name, key, group)
        for name, (key, group) in value.entries(f"groups of {tenant_id!r}").items()
    }
    direct: dict[str, list[str]] = {}
    for name, group in listed.items():
        for member in group.groups:
            direct.setdefault(member, []).append(name)
    containing = {name: _containing(name, direct, listed) for name in direct}
    found.of_groups.update({(tenant_id, name): tuple(sorted(groups)) for name, groups in containing.items()})
    of_people: dict[Person, set[str]] = {}
    for name, group in listed.items():
        for person, place in group.people.items():
            groups = of_people.setdefault(person, set())
            groups.update((name, *containing.get(name, ())))
            if len(groups) > MOST_GROUPS:
                place.refuse(f"{person[1]!r} belongs to more than the {MOST_GROUPS:,} groups that can be judged")
    found.of_people.update({person: tuple(sorted(groups)) for person, groups in of_people.items()})
    for (_, subject, issuer), groups in sorted(of_people.items()):
        for name in groups:
            found.of_each_group.setdefault((tenant_id, name), []).append((subject, issuer))


def _read_group(tenant_id: str, name: str, key: Positioned, value: Positioned) -> _ListedGroup:
    what = f"group {name!r}"
    _require_name(name, key)
    fields = value.fields(what, frozenset({"people", "groups"}))
    if not fields:
        value.refuse(f"{what} has neither `people:` nor `groups:`")
    people: dict[Person, Positioned] = {}
    for item in fields["people"].items(f"people of {what}") if "people" in fields else ():
        person = _read_person(tenant_id, item, what)
        if person in people:
            item.refuse(f"{person[1]!r} stands twice among the people of {what}")
        people[person] = item
    groups: dict[str, Positioned] = {}
    for item in fields["groups"].items(f"groups of {what}") if "groups" in fields else ():
        member = item.text(f"a group of {what}")
        _require_name(member, item)
        if member in groups:
            item.refuse(f"{member!r} stands twice among the groups of {what}")
        groups[member] = item
    return _ListedGroup(key, people, groups)


def _read_person(tenant_id: str, item: Positioned, what: str) -> Person:
    """A subject, or a mapping of subject and issuer."""
    if not item.is_mapping:
        subject, issuer = item.text(f"a person of {what}"), _AS_IN_RULES
    else:
        fields = item.fields(f"a person of {what}", frozenset({"subject", "issuer"}))
        if "subject" not in fields:
            item.refuse(f"a person of {what} has no subject")
        subject = fields["subject"].text(f"the subject of a person of {what}")
        issuer = fields["issuer"].text(f"the issuer of a person of {what}") if "issuer" in fields else _AS_IN_RULES
        if "issuer" in fields and not issuer:
            fields["issuer"].refuse("the issuer is empty; leave it out for a name as in rules")
    if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        item.refuse(f"a subject is 1 to {_LONGEST_SUBJECT} printable characters, not {subject[:60]!r}")
    return tenant_id, subject, issuer


def _require_name(name: str, place: Positioned) -> None:
    if not is_group_name(name):
        place.refuse(f"a group's name is 1 to 250 printable characters, not {name[:60]!r}")


def _containing(start: str, direct: Mapping[str, Iterable[str]], listed: Mapping[str, _ListedGroup]) -> set[str]:
    """All groups that a group is part of; one that would be part of itself is refused where it stands."""
    came_from: dict[str, str] = {}
    waiting = [(start, each) for each in direct[start]]
    while waiting:
        member, name = waiting.pop()
        if name in came_from:
            continue
        came_from[name] = member
        if name == start:
            circle = [start]
            while circle[-1] != start or len(circle) == 1:
                circle.append(came_from[circle[-1]])
            listed[start].key.refuse(f"group {start!r} would be part of itself: {' contains '.join(circle)}")
        waiting += [(name, each) for each in direct.get(name, ())]
    return set(came_from)
