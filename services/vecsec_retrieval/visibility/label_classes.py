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

Works on Cedar's JSON policy format.
"""

import json
from bisect import bisect_left
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vecsec_chassis.domain.labels import AttributeValue, Label

_RESOURCE = {"Var": "resource"}
_EQUALITIES = frozenset({"==", "!="})
_ORDERS = frozenset({"<", "<=", ">", ">="})
_SET_OPERATORS = frozenset({"contains", "containsAll", "containsAny"})
_LARGEST_LONG = 2**63 - 1

Expression = Mapping[str, Any]
Signature = Hashable
"""Names a class of labels: equal for labels of one class, different for labels of different classes."""


@dataclass(slots=True)
class AttributeUse:
    """What a residual compares one attribute with."""

    is_exact: bool = False
    """Whether each value is a class of its own."""
    texts: set[str] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    """Sorted, without duplicates, once the residual was read."""

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

    @classmethod
    def of_residual(cls, residual: str) -> "LabelClasses":
        """Read a policy set in Cedar's JSON format, which Cedar itself has accepted."""
        reader = _Reader()
        policy_set = json.loads(residual)
        reader.is_row_itself_mentioned = bool(policy_set.get("templateLinks"))
        for policy in policy_set["staticPolicies"].values():
            reader.read_policy(policy)
        for use in reader.uses.values():
            use.numbers = sorted(set(use.numbers))
        return cls(reader.uses, are_single=reader.is_row_itself_mentioned)

    def signature(self, label: Label) -> Signature:
        """The class of a label."""
        if self.are_single:
            return label
        return tuple([use.class_of(attribute_of(label, name)) for name, use in self.uses.items()])


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
    return all(
        -_LARGEST_LONG - 1 <= value <= _LARGEST_LONG if isinstance(value, int) else isinstance(value, str | frozenset)
        for _, value in label.attributes
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
        if expression == _RESOURCE:
            self.is_row_itself_mentioned = True
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

    def _read_truth_value(self, expression: Expression) -> None:
        """An attribute as a truth value: it is true, false, or of a type that fails."""
        if _attribute_name(expression) is not None:
            self._mention(expression, ())
        else:
            self._read(expression)

    def _read_comparison(self, operator: str, left: Expression, right: Expression) -> None:
        for side, other in ((left, right), (right, left)):
            constants = _constants(other)
            if _attribute_name(side) is not None and constants is not None:
                self._mention(side, constants)
                return
        self._read(left)
        self._read(right)

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
