"""Random conditions of rules, well-typed as Cedar's validator wants them, and smaller ones that a shrinker may try."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from vecsec_chassis.domain.label_schema import AttributeType

TEXTS = ("alice", "bob", "eu", "e*", "", "ä ⚖", 'say "hi"', "rag", "finance", "tenant_a", "user:alice", "group:staff")
NUMBERS = (0, 1, 2, 3, -1, 20260131, 2**63 - 1, -(2**63))
SUBJECTS = ("alice", "bob", "böb\n", '"; permit', "tenant_a/alice")
GROUPS = ("staff", "finance", "rag")
TENANTS = ("tenant_a", "tenant_b", "c")
ROLES = ("guest", "analyst", "superuser", "admin")
ACTIONS = ("read", "write", "delete", "configure")
_MOST_LEAVES = 5


@dataclass(frozen=True)
class Condition:
    """A truth value: a leaf in Cedar, or an operator over others."""

    text: str
    """In Cedar, with {} for each part."""
    parts: tuple["Condition", ...] = ()

    def __str__(self) -> str:
        if not self.parts:
            return self.text
        return self.text.format(*self.parts)

    def smaller(self) -> Iterator["Condition"]:
        """Conditions of less text that might show the same."""
        yield from self.parts
        if self.text not in {"true", "false"}:
            yield Condition("true")
            yield Condition("false")
        for position, part in enumerate(self.parts):
            for other in part.smaller():
                yield Condition(self.text, (*self.parts[:position], other, *self.parts[position + 1 :]))


class Conditions:
    """Makes conditions over the attributes that a schema declares."""

    def __init__(
        self,
        random: Random,
        declared: Mapping[str, AttributeType],
        of_callers: Mapping[str, AttributeType],
        names: tuple[str, ...],
    ) -> None:
        """`declared` are attributes of rows, `of_callers` those that callers may have; `names` are callers as Cedar
        names them."""
        self._random = random
        self._names = names
        own = {"tenant_id": AttributeType.STRING, "sensitivity": AttributeType.LONG, "topics": AttributeType.TEXTS}
        self._declared = own | dict(declared)
        self._of_callers = of_callers

    def any(self, leaves: int = _MOST_LEAVES) -> Condition:
        """A condition of at most so many leaves."""
        if leaves == 1 or self._random.random() < 0.3:
            return self._leaf()
        operator, count = self._random.choice(
            [("({} && {})", 2), ("({} || {})", 2), ("!({})", 1), ("(if {} then {} else {})", 3)]
        )
        return Condition(operator, tuple(self.any(max(1, leaves // count)) for _ in range(count)))

    def _leaf(self) -> Condition:
        return Condition(self._of_row() if self._random.random() < 0.6 else self._of_caller())

    def _of_row(self) -> str:
        """A question to one attribute of the row, or to two."""
        name = self._random.choice(list(self._declared))
        if self._random.random() < 0.1:
            return self._random.choice([f"resource has {name}", f"!(resource has {name})", "resource is Document"])
        access, guard = f"resource.{name}", f"resource has {name}"
        peers = [other for other, declared in self._declared.items() if declared is self._declared[name]]
        if self._random.random() < 0.15:
            other = self._random.choice(peers)
            question = self._question(self._declared[name], access, f"resource.{other}")
            return f"({guard} && resource has {other} && {question})"
        question = self._question(self._declared[name], access, self._value(self._declared[name]))
        if self._random.random() < 0.1:
            question = question.replace(access, f"{{a: {access}, unknown: 1}}.a")
        if self._random.random() < 0.15:
            return f"(if {guard} then {question} else {self._random.choice(['true', 'false'])})"
        return f"({guard} && {question})"

    def _question(self, declared: AttributeType, access: str, other: str) -> str:
        choose = self._random.choice
        match declared:
            case AttributeType.STRING:
                pattern = choose(["a*", "*", "e\\*", "*:*", "", "ä*"])
                return choose(
                    [
                        f"{access} == {other}",
                        f"{other} != {access}",
                        f'{access} like "{pattern}"',
                        f"{self._texts()}.contains({access})",
                        f"principal.tenant.topics.contains({access})",
                        f"{access} == context.target.tenant_id",
                    ]
                )
            case AttributeType.LONG:
                return choose(
                    [
                        f"{access} {choose(['==', '!=', '<', '<=', '>', '>='])} {other}",
                        f"{other} {choose(['<', '<=', '>', '>='])} {access}",
                        f"{access} + {choose([1, 2**63 - 1, 2**63 - 3])} > 0",
                        f"{access} * {choose([2, 2**62])} - 1 > {other}",
                        f"-{access} < {other}",
                        f"[1, 2, 3].contains({access})",
                    ]
                )
            case AttributeType.BOOL:
                return choose([access, f"!{access}", f"{access} == {other}", f"(if {access} then {other} else true)"])
            case AttributeType.TEXTS:
                return choose(
                    [
                        f"{access}.contains({_quoted(choose(TEXTS))})",
                        f"{access}.contains(principal.subject)",
                        f"{access}.{choose(['containsAll', 'containsAny'])}({other})",
                        f"{other}.{choose(['containsAll', 'containsAny'])}({access})",
                        f"{access} == {other}",
                        f"{access}.isEmpty()",
                    ]
                )

    def _value(self, declared: AttributeType) -> str:
        """A constant of the type, or something of the caller's."""
        choose = self._random.choice
        match declared:
            case AttributeType.STRING:
                return choose([_quoted(choose(TEXTS)), "principal.subject", "principal.tenant.tenant_id"])
            case AttributeType.LONG:
                mine = ["principal.clearance", "principal.role.max_clearance", "context.today"]
                return choose([_number(choose(NUMBERS)), _number(choose(NUMBERS[:4])), *mine])
            case AttributeType.BOOL:
                return choose(["true", "false", "principal.role.ignores_clearance"])
            case AttributeType.TEXTS:
                mine = ["principal.tenant.topics", *(f"principal.{name}" for name in self._sets_of_callers())]
                return choose([self._texts(), self._texts(), *mine])

    def _of_caller(self) -> str:
        choose = self._random.choice
        named = f'Caller::"{choose(self._names)}"'
        leaves = [
            "true",
            "false",
            f"principal == {named}",
            f"principal != {named}",
            f'[{named}, Caller::"{choose(self._names)}"].contains(principal)',
            f"principal in {named}",
            f"principal in [{named}]",
            f"principal.subject == {_quoted(choose(TEXTS))}",
            'principal.subject like "a*"',
            f'principal.role == Role::"{choose(ROLES)}"',
            f'principal.tenant == Tenant::"{choose(TENANTS)}"',
            f'context.target == Tenant::"{choose(TENANTS)}"',
            "context.target == principal.tenant",
            f"context.target.topics.contains({_quoted(choose(TEXTS))})",
            f"context.today > {_number(choose(NUMBERS))}",
            f"principal.clearance >= {choose([1, 2, 3, 4])}",
            f"principal.clearance + {2**63 - 3} > 0",
            "principal.role.ignores_topic_scope",
            "principal.role.operations.contains(action)",
            f'principal.role.operations.contains(Action::"{choose(ACTIONS)}")',
            f"principal.tenant.topics.containsAny({self._texts()})",
            f'action == Action::"{choose(ACTIONS)}"',
            f'action in [Action::"{choose(ACTIONS)}", Action::"{choose(ACTIONS)}"]',
            "principal is Caller",
            "principal has subject",
            "context has today",
            'decimal("1.5").lessThan(decimal("2.5"))',
        ]
        if self._random.random() < 0.03:  # refused, or right
            leaves = [
                f"{named} has clearance",
                f"{named}.clearance > 1",
                f"{{x: {named}}}.x.tenant == principal.tenant",
                f"(if principal.clearance > 2 then principal else {named}).clearance > 2",
                f"{named} in principal.tenant",
                f'Role::"{choose(ROLES)}".max_clearance > 1',
                f'Tenant::"{choose(TENANTS)}".topics.isEmpty()',
            ]
        leaves += [f"principal.{name}.containsAny({self._texts()})" for name in self._sets_of_callers()]
        leaves += [
            f"(principal has {name} && {self._question(declared, f'principal.{name}', self._value(declared))})"
            for name, declared in self._of_callers.items()
            if name not in self._sets_of_callers()
        ]
        return choose(leaves)

    def _sets_of_callers(self) -> list[str]:
        """The sets that each caller has."""
        return [name for name in ("groups", "reader_names") if name in self._of_callers]

    def _texts(self) -> str:
        chosen = self._random.sample(TEXTS, self._random.randint(0, 3))
        return f"[{', '.join(map(_quoted, chosen))}]" if chosen else '["nothing"]'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _number(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"
