"""One world of the fuzz: a policy, who asks what by it, and labels. All of it is plain values, to be printed."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from pprint import pformat
from random import Random

from fuzz.conditions import ACTIONS, GROUPS, NUMBERS, ROLES, SUBJECTS, TENANTS, TEXTS, Condition, Conditions
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_policy.cedar.entities import caller_uid
from vecsec_policy.folder.principals import Caller, Role, Tenant
from vecsec_policy.settings import PACKAGED_POLICY

_SCHEMA = (PACKAGED_POLICY / "schema.cedarschema").read_text()
_OWN_OF_ROWS = "  owner?: String,\n  region?: String,\n"
_OWN_OF_CALLERS = "  clearance: Long,\n"
_TYPES = {
    "owner": AttributeType.STRING,
    "region": AttributeType.STRING,
    "level": AttributeType.LONG,
    "until": AttributeType.LONG,
    "is_open": AttributeType.BOOL,
    "teams": AttributeType.TEXTS,
    "editors": AttributeType.TEXTS,
}
"""What schemas of the fuzz mostly declare of rows."""
_ODD_TYPES = ("decimal", "ipaddr", "datetime", "Set<Long>", "{a: Long}", "Role", "Set<datetime>")
"""Refused, or right."""
_OF_CALLERS = {"department": AttributeType.STRING, "grade": AttributeType.LONG, "is_external": AttributeType.BOOL}
"""What they declare of callers, where callers have attributes."""
_CALLER_FIELDS = frozenset(each.name for each in fields(Caller))
_HAVE_GROUPS, _HAVE_ATTRIBUTES = "groups" in _CALLER_FIELDS, "attributes" in _CALLER_FIELDS
_ROLES_YAML = """
roles:
  guest: {operations: [read], max_clearance: PUBLIC}
  analyst: {operations: [read], max_clearance: INTERNAL}
  superuser: {operations: [read, write, configure], max_clearance: CONFIDENTIAL, ignores_topic_scope: true}
  admin:
    operations: [read, write, delete, configure]
    max_clearance: SECRET
    reads_across_tenants: true
    ignores_topic_scope: true
    ignores_clearance: true
"""
_TENANTS_YAML = """
tenants:
  tenant_a: {topics: [rag, eu]}
  tenant_b: {topics: [finance]}
  c: {topics: [rag, finance, eu, alice]}
"""


@dataclass(frozen=True)
class Ask:
    """A caller who wants to do something in a tenant."""

    subject: str = "alice"
    tenant: str = "tenant_a"
    role: str = "analyst"
    clearance: int = 2
    target: str = "tenant_a"
    action: str = "read"
    today: int | None = 20260131
    groups: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str | int | bool], ...] = ()

    def caller(self, roles: Mapping[str, Role], tenants: Mapping[str, Tenant]) -> Caller:
        role = roles[self.role]
        more: dict[str, object] = {"groups": self.groups} if _HAVE_GROUPS else {}
        more |= {"attributes": self.attributes} if _HAVE_ATTRIBUTES else {}
        clearance = min(Sensitivity(self.clearance), role.max_clearance)
        return Caller(self.subject, tenants[self.tenant], role, clearance, self.today, **more)  # type: ignore[arg-type]

    def smaller(self) -> Iterator["Ask"]:
        """The same caller with less that is unusual."""
        for each in fields(Ask):
            if getattr(self, each.name) != each.default:
                yield replace(self, **{each.name: each.default})


@dataclass(frozen=True)
class RuleText:
    """A rule whose condition can be made smaller."""

    effect: str
    scope: str
    word: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.effect} ({self.scope}) {self.word} {{ {self.condition} }};"


@dataclass(frozen=True)
class Case:
    """What is decided, by which rules."""

    declared: tuple[tuple[str, str], ...]
    """The attributes of rows beside their own parts, and their types."""
    rules: tuple[RuleText, ...]
    asks: tuple[Ask, ...]
    """One after the other, by the same services: what one leaves behind, the next may find."""
    labels: tuple[Label, ...]
    with_packaged_rules: bool = False
    seed: int = field(default=0, compare=False)

    def write(self, folder: Path) -> Path:
        """The policy, as a folder."""
        folder.mkdir()
        written = "".join(f"  {name}?: {kind},\n" for name, kind in self.declared)
        schema = _SCHEMA.replace(_OWN_OF_ROWS, written)
        if _HAVE_ATTRIBUTES:
            of_callers = "".join(f"  {name}?: {kind},\n" for name, kind in _OF_CALLERS.items())
            schema = schema.replace(_OWN_OF_CALLERS, _OWN_OF_CALLERS + of_callers)
        (folder / "schema.cedarschema").write_text(schema)
        (folder / "roles.yaml").write_text(_ROLES_YAML)
        (folder / "tenants.yaml").write_text(_TENANTS_YAML)
        (folder / "own.cedar").write_text(self.rules_text)
        if self.with_packaged_rules:
            shutil.copyfile(PACKAGED_POLICY / "access.cedar", folder / "access.cedar")
        return folder

    @property
    def rules_text(self) -> str:
        """The rules in Cedar."""
        return "\n".join(f'@id("own-{number}") {rule}' for number, rule in enumerate(self.rules))

    def smaller(self) -> Iterator["Case"]:
        """Cases with less in them that might show the same, the smallest first."""
        for name in ("asks", "labels", "rules", "declared"):
            several = getattr(self, name)
            if len(several) > 8:
                half = len(several) // 2
                yield replace(self, **{name: several[:half]})
                yield replace(self, **{name: several[half:]})
            for position in range(len(several)):
                yield replace(self, **{name: (*several[:position], *several[position + 1 :])})
        if self.with_packaged_rules:
            yield replace(self, with_packaged_rules=False)
        if len(self.asks) <= 2 and len(self.labels) <= 2:
            yield from self._simpler()

    def _simpler(self) -> Iterator["Case"]:
        """With as many asks, labels and rules, but less in one of them."""
        for position, ask in enumerate(self.asks):
            for other in ask.smaller():
                yield replace(self, asks=(*self.asks[:position], other, *self.asks[position + 1 :]))
        for position, label in enumerate(self.labels):
            for less in _smaller_label(label):
                yield replace(self, labels=(*self.labels[:position], less, *self.labels[position + 1 :]))
        for position, rule in enumerate(self.rules):
            for condition in rule.condition.smaller():
                simpler = replace(rule, condition=condition)
                yield replace(self, rules=(*self.rules[:position], simpler, *self.rules[position + 1 :]))

    def as_test(self) -> str:
        """A test that fails as this case did."""
        rules = pformat([str(rule) for rule in self.rules], width=110)
        labels = pformat([label.to_json() for label in self.labels], width=110)
        return (
            f"async def test_found_by_seed_{self.seed}() -> None:\n"
            f"    assert not await differences(\n"
            f"        case_of(\n"
            f"            declared={self.declared!r},\n"
            f"            rules={rules},\n"
            f"            asks={list(self.asks)!r},\n"
            f"            labels={labels},\n"
            f"            with_packaged_rules={self.with_packaged_rules},\n"
            f"        )\n"
            f"    )\n"
        )


def case_of(
    declared: tuple[tuple[str, str], ...],
    rules: list[str],
    asks: list[Ask],
    labels: list[str],
    *,
    with_packaged_rules: bool = False,
) -> Case:
    """A case from what `as_test` printed."""
    read = []
    for rule in rules:
        head, _, rest = rule.partition(" (")
        scope, _, rest = rest.partition(") ")
        word, _, body = rest.partition(" { ")
        read.append(RuleText(head, scope, word, Condition(body.removesuffix(" };"))))
    return Case(declared, tuple(read), tuple(asks), tuple(map(Label.from_json, labels)), with_packaged_rules)


def random_case(seed: int) -> Case:
    """The case of this seed: always the same."""
    random = Random(seed)
    declared = {
        name: kind if random.random() < 0.85 else random.choice(list(AttributeType))
        for name, kind in _TYPES.items()
        if random.random() < 0.6
    }
    odd = [("odd", random.choice(_ODD_TYPES))] if random.random() < 0.03 else []
    asks = tuple(_ask(random) for _ in range(12))
    names = tuple(
        caller_uid(ask.caller({ask.role: _ANY_ROLE}, {ask.tenant: Tenant(ask.tenant, frozenset())}))["id"]
        for ask in asks
    )
    of_callers = dict(_OF_CALLERS) if _HAVE_ATTRIBUTES else {}
    of_callers |= {"groups": AttributeType.TEXTS, "reader_names": AttributeType.TEXTS} if _HAVE_GROUPS else {}
    conditions = Conditions(random, declared, of_callers, names)
    return Case(
        declared=(*((name, kind.value) for name, kind in declared.items()), *odd),
        rules=(
            RuleText("permit", "principal, action, resource", "when", Condition("true")),
            *(_rule(random, conditions, names) for _ in range(random.randint(1, 4))),
        ),
        asks=asks,
        labels=tuple(dict.fromkeys(_label(random, LabelSchema.of(declared)) for _ in range(60))),
        with_packaged_rules=random.random() < 0.3,
        seed=seed,
    )


_ANY_ROLE = Role("any", frozenset(Action), Sensitivity.SECRET)


def _rule(random: Random, conditions: Conditions, names: tuple[str, ...]) -> RuleText:
    principal = random.choice(
        ["principal", "principal", "principal is Caller", f'principal == Caller::"{random.choice(names)}"']
    )
    action = random.choice(["action", f'action == Action::"{random.choice(ACTIONS)}"', 'action in [Action::"read"]'])
    scope = f"{principal}, {action}, resource is Document"
    return RuleText(
        random.choice(["forbid", "forbid", "permit"]), scope, random.choice(["when", "unless"]), conditions.any()
    )


def _ask(random: Random) -> Ask:
    tenant = random.choice(TENANTS)
    return Ask(
        subject=random.choice(SUBJECTS),
        tenant=tenant,
        role=random.choice(ROLES),
        clearance=random.randint(1, 4),
        target=random.choice([tenant, tenant, *TENANTS, "unlisted"]),
        action=random.choice(["read", "read", *ACTIONS]),
        today=random.choice([20260131, 20260131, 20260201, None]),
        groups=tuple(sorted(random.sample(GROUPS, random.randint(0, len(GROUPS))))) if _HAVE_GROUPS else (),
        attributes=tuple(
            (name, _plain(_value(random, kind))) for name, kind in _OF_CALLERS.items() if random.random() < 0.5
        )
        if _HAVE_ATTRIBUTES
        else (),
    )


def _plain(value: AttributeValue) -> str | int | bool:
    """As a token can give it: what Cedar has no value for is refused with the token."""
    assert not isinstance(value, frozenset)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return value if isinstance(value, bool) else max(-(2**63), min(value, 2**63 - 1))


def _label(random: Random, schema: LabelSchema) -> Label:
    """Half-tagged, of a wrong type, with retired attributes: as rows may turn up."""
    carried: dict[str, AttributeValue] = {}
    for name in (*_TYPES, "never_declared", "odd"):
        declared = schema.type_of(name)
        if random.random() < (0.4 if declared else 0.08):
            kind = declared if declared and random.random() < 0.85 else random.choice(list(AttributeType))
            carried[name] = _value(random, kind)
    if "readers?:" in _SCHEMA and random.random() < 0.4:
        carried["readers"] = frozenset(random.sample(TEXTS, random.randint(0, 3)))
    return Label(
        random.choice(["", *TENANTS, *TENANTS, "unlisted"]),
        random.choice([None, *Sensitivity, *Sensitivity]),
        frozenset(random.sample(("rag", "eu", "finance", "alice", "other"), random.randint(0, 2))),
        canonical_attributes(carried),
    )


def _value(random: Random, kind: AttributeType) -> AttributeValue:
    match kind:
        case AttributeType.STRING:
            return random.choice(TEXTS)
        case AttributeType.LONG:
            return random.choice((*NUMBERS, 2**63))
        case AttributeType.BOOL:
            return random.random() < 0.5
        case AttributeType.TEXTS:
            return frozenset(random.sample(TEXTS, random.randint(0, 3)))


def _smaller_label(label: Label) -> Iterator[Label]:
    for name, _ in label.attributes:
        yield _with_parts(label, attributes=tuple(pair for pair in label.attributes if pair[0] != name))
    for topic in label.topics:
        yield _with_parts(label, topics=label.topics - {topic})
    if label.tenant_id != "tenant_a":
        yield _with_parts(label, tenant_id="tenant_a")
    if label.sensitivity is not Sensitivity.PUBLIC:
        yield _with_parts(label, sensitivity=Sensitivity.PUBLIC)


def _with_parts(label: Label, **changes: object) -> Label:
    """The label with other parts."""
    parts = {name: getattr(label, name) for name in ("tenant_id", "sensitivity", "topics", "attributes")} | changes
    return Label(**parts)
