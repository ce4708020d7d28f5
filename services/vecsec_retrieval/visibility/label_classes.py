"""Which labels a residual cannot tell apart, so that one of them decides for all.

Rules see a row through its label alone, and what a residual asks of an attribute is mostly whether it equals, contains
or exceeds some constants. Two values that compare alike with all of these constants are of one *class*; two labels are
of one class if the values of every attribute that the residual mentions are.

Why labels of one class are decided alike: a residual is an expression whose only variable is `resource`. Cedar's
evaluation of it meets `resource` only where it is mentioned, and each mention stands in one of two kinds of places:

* as the operand of an operator listed below, whose other operand is a constant. What the operator gives (or that it
  fails, for the type is part of the class) is the same for all values of a class.
* anywhere else, such as in a pattern, in a comparison of two attributes, in arithmetic. Then each value of the
  attribute is a class of its own.

So all other parts of the expression are given the same values and give the same. If the row itself is mentioned other
than through an attribute, each label is a class of its own. Whatever is not known here falls under the second kind. A
property test compares with Cedar's word on every single label (`tests/unit/retrieval/test_label_classes.py`).

Sets of the caller's are left open in a residual (`context.reader_names`), so that it is the same for all callers. Of
these it may ask whether an attribute is in them or has a member in common with them; the answer to that is part of the
class, so that classes, and Cedar's word on them, are the same for all callers, too.

Works on Cedar's JSON policy format.
"""

import json
from bisect import bisect_left
from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, TypeAlias

from vecsec_chassis.domain.caller_sets import member_hash
from vecsec_chassis.domain.label_schema import is_expressible, is_text
from vecsec_chassis.domain.labels import AttributeValue, Label

_RESOURCE = {"Var": "resource"}
_CONTEXT = {"Var": "context"}
_EQUALITIES = frozenset({"==", "!="})
_ORDERS = frozenset({"<", "<=", ">", ">="})
_SET_OPERATORS = frozenset({"contains", "containsAll", "containsAny"})

Expression = Mapping[str, Any]
Signature = Hashable
"""Names a class of labels: equal for labels of one class, different for labels of different classes."""
Sets: TypeAlias = Mapping[str, AbstractSet[bytes]]
"""A caller's sets by name, each as the hashes of its members."""
NO_SETS: Sets = MappingProxyType({})


class UnknownUse(ValueError):
    """A residual asks of a caller's set what cannot be answered without all of its members."""


class SetQuestion(Enum):
    """What can be asked of an attribute and a caller's set."""

    HAS_MEMBER_OF = auto()
    """Whether the attribute, a set, has a member in common with it."""
    IS_WITHIN = auto()
    """Whether all members of the attribute, a set, are in it."""
    IS_MEMBER_OF = auto()
    """Whether the attribute, a text, is in it."""

    def answer(self, value: AttributeValue | None, members: AbstractSet[bytes]) -> bool:
        """The answer; False for values of a kind that the question is not for."""
        if self is SetQuestion.IS_MEMBER_OF:
            return isinstance(value, str) and member_hash(value) in members
        if not isinstance(value, frozenset):
            return False
        found = (member_hash(each) in members for each in value)
        return any(found) if self is SetQuestion.HAS_MEMBER_OF else all(found)


_QUESTIONS = {
    "containsAny": SetQuestion.HAS_MEMBER_OF,
    "containsAll": SetQuestion.IS_WITHIN,
    "contains": SetQuestion.IS_MEMBER_OF,
}


@dataclass(slots=True)
class AttributeUse:
    """What a residual compares one attribute with."""

    is_exact: bool = False
    """Whether each value is a class of its own."""
    texts: set[str] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    """Sorted, without duplicates, once the residual was read."""
    questions: dict[tuple[str, SetQuestion], None] = field(default_factory=dict)
    """What is asked of the attribute and a set of the caller's, by the set's name, in the order of the residual."""

    def answers(self, value: AttributeValue | None, sets: Sets) -> tuple[bool, ...]:
        """The answers to the questions."""
        return tuple([question.answer(value, sets[name]) for name, question in self.questions])

    def class_of(self, value: AttributeValue | None) -> Hashable:
        """The value's class; None is an absent value's own."""
        if value is None:
            return None
        kind = type(value).__name__  # Python takes True and 1 for the same, Cedar does not
        if self.is_exact or isinstance(value, bool):
            return kind, value
        if isinstance(value, int):
            position = bisect_left(self.numbers, value)
            return kind, position, position < len(self.numbers) and self.numbers[position] == value
        if isinstance(value, str):
            return kind, value if value in self.texts else None
        known = value & self.texts
        return kind, known, len(known) < len(value)


class LabelClasses:
    """The classes that one residual makes."""

    def __init__(self, uses: Mapping[str, AttributeUse], *, are_single: bool) -> None:
        self.uses = uses
        """By the names of the attributes that the residual mentions."""
        self.are_single = are_single
        """Whether each label is a class of its own."""
        self.asked = {name: use for name, use in uses.items() if use.questions}
        """Of which attributes and which sets something is asked."""
        self.sets = frozenset(name for use in self.asked.values() for name, _ in use.questions)
        """The caller's sets that the residual asks for."""

    @classmethod
    def of_residual(cls, residual: str) -> "LabelClasses":
        """Read a policy set in Cedar's JSON format, which Cedar itself has accepted.

        Raises:
            UnknownUse: if it asks something of a caller's set that is not known here.
        """
        reader = _Reader()
        policy_set = json.loads(residual)
        reader.is_row_itself_mentioned = bool(policy_set.get("templateLinks"))
        for policy in policy_set["staticPolicies"].values():
            reader.read_policy(policy)
        for use in reader.uses.values():
            use.numbers = sorted(set(use.numbers))
        return cls(reader.uses, are_single=reader.is_row_itself_mentioned)

    def signature(self, label: Label, sets: Sets = NO_SETS) -> Signature:
        """The class of a label, for a caller with these sets."""
        answers = [use.answers(attribute_of(label, name), sets) for name, use in self.asked.items()]
        if self.are_single:
            return (label, *answers)
        return (*[use.class_of(attribute_of(label, name)) for name, use in self.uses.items()], *answers)

    def members(self, label: Label, sets: Sets) -> dict[str, list[str]]:
        """By the names of the sets that the residual asks for, those of their members that the label bears where it is
        asked: no others can make a difference to it."""
        found: dict[str, set[str]] = {name: set() for name in self.sets}
        for attribute, use in self.asked.items():
            value = attribute_of(label, attribute)
            texts = value if isinstance(value, frozenset) else {value} if isinstance(value, str) else ()
            for name, _ in use.questions:
                found[name].update(text for text in texts if member_hash(text) in sets[name])
        return {name: sorted(members) for name, members in found.items()}


def attribute_of(label: Label, name: str) -> AttributeValue | None:
    """What the rules see as `resource.<name>`; None if `resource has <name>` is false."""
    match name:
        case "tenant_id":
            return label.tenant_id or None
        case "sensitivity":
            return None if label.sensitivity is None else int(label.sensitivity)
        case "topics":
            return label.topics or None
    return next((value for known, value in label.attributes if known == name), None)


def is_readable(label: Label) -> bool:
    """Whether Cedar has types for all values of the label. One that it cannot read is in no class and never visible."""
    return (
        all(is_expressible(value) for _, value in label.attributes)
        and is_text(label.tenant_id)
        and all(map(is_text, label.topics))
    )


class _Reader:
    """Walks over a residual and notes what it does with the row."""

    def __init__(self) -> None:
        self.uses: dict[str, AttributeUse] = {}
        self.is_row_itself_mentioned = False

    def read_policy(self, policy: Mapping[str, Any]) -> None:
        if any(policy[part].get("op") != "All" for part in ("principal", "action", "resource")):
            self.is_row_itself_mentioned = True
        for condition in policy["conditions"]:
            self._read_truth_value(condition["body"])

    def _read(self, expression: Expression) -> None:
        if len(expression) != 1:
            self.is_row_itself_mentioned = True  # no expression as it is known here
            return
        ((operator, operands),) = expression.items()
        if operator == "Value":
            return
        if operator == "Var":
            self._read_variable(operands)
        elif operator in {"&&", "||"}:
            self._read_truth_value(operands["left"])
            self._read_truth_value(operands["right"])
        elif operator == "!":
            self._read_truth_value(operands["arg"])
        elif operator == "has" and operands["left"] == _RESOURCE:
            self._use(operands["attr"])
        elif operator == "isEmpty" and _attribute_name(operands["arg"]) is not None:
            self._mention(operands["arg"], ())
        elif operator in _EQUALITIES | _ORDERS | _SET_OPERATORS:
            self._read_comparison(operator, operands["left"], operands["right"])
        elif _attribute_name(expression) is not None:
            self._use(operands["attr"]).is_exact = True
        else:
            self._read_parts(operands)

    def _read_variable(self, name: str) -> None:
        """A variable as a whole."""
        if name == "context":
            raise UnknownUse("the rules ask something of the caller's sets that their members alone cannot answer")
        self.is_row_itself_mentioned = True

    def _read_truth_value(self, expression: Expression) -> None:
        """An attribute as a truth value: it is true, false, or of a type that fails."""
        if _attribute_name(expression) is not None:
            self._mention(expression, ())
        else:
            self._read(expression)

    def _read_comparison(self, operator: str, left: Expression, right: Expression) -> None:
        if self._read_question(operator, left, right):
            return
        for side, other in ((left, right), (right, left)):
            constants = _constants(other)
            if _attribute_name(side) is not None and constants is not None:
                self._mention(side, constants)
                return
        self._read(left)
        self._read(right)

    def _read_question(self, operator: str, left: Expression, right: Expression) -> bool:
        """Whether that is a question about an attribute and a set of the caller's; it is noted then."""
        if operator == "containsAny" and _set_name(right) is not None:
            left, right = right, left
        name, attribute = _set_name(left), _attribute_name(right)
        question = _QUESTIONS.get(operator)
        if name is None or attribute is None or question is None:
            return False
        self._use(attribute).questions[name, question] = None
        return True

    def _read_parts(self, operands: object) -> None:
        """Operands of an operator that nothing is known of, whatever they are called."""
        if isinstance(operands, Mapping):
            for operand in operands.values():
                if isinstance(operand, Mapping):
                    self._read(operand)
                else:
                    self._read_parts(operand)
        elif isinstance(operands, list):
            for operand in operands:
                if isinstance(operand, Mapping):
                    self._read(operand)

    def _mention(self, attribute: Expression, constants: tuple[object, ...]) -> None:
        use = self._use(attribute["."]["attr"])
        use.texts.update(constant for constant in constants if isinstance(constant, str))
        use.numbers.extend(
            constant for constant in constants if isinstance(constant, int) and not isinstance(constant, bool)
        )

    def _use(self, name: str) -> AttributeUse:
        return self.uses.setdefault(name, AttributeUse())


def _attribute_name(expression: Expression) -> str | None:
    """The name in `resource.name`."""
    access = expression.get(".")
    return access["attr"] if access is not None and access["left"] == _RESOURCE else None


def _set_name(expression: Expression) -> str | None:
    """The name in `context.name`."""
    access = expression.get(".")
    return access["attr"] if access is not None and access["left"] == _CONTEXT else None


def _constants(expression: Expression) -> tuple[object, ...] | None:
    """The scalars in a constant scalar or set of scalars; None for anything else."""
    if "Value" in expression:
        values = expression["Value"]
    elif "Set" in expression and all("Value" in member for member in expression["Set"]):
        values = [member["Value"] for member in expression["Set"]]
    else:
        return None
    constants = tuple(values) if isinstance(values, list) else (values,)
    return constants if all(isinstance(constant, str | int) for constant in constants) else None
