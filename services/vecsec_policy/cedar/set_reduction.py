"""Makes callers and rows small before Cedar is asked about them: of sets that plans leave open it need only see members
that both have. It takes 7 µs to read a member, and a caller may have a thousand.

Where rules ask of a row's attribute nothing but whether it has a member in common with such a set, other members make
no difference to a decision; rows that are then alike are decided once. A property test compares with Cedar's word on
whole callers and rows (`tests/unit/policy/test_access_lists.py`).
"""

from collections.abc import Iterable, Mapping, Sequence

from cachetools import LRUCache

from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_policy.cedar.caller_attributes import GROUPS, READER_NAMES
from vecsec_policy.folder.principals import Caller

_REMEMBERED_MEMBERS = 100_000
"""Of all callers' sets together: some 10 MB."""
_Sets = Mapping[str, frozenset[str]]


class SetReduction:
    """What rules of one policy version need to see of callers' sets and of rows."""

    def __init__(self, open_sets: frozenset[str], mentioned: frozenset[str], reducible: _Sets) -> None:
        """`open_sets` are those that all rules ask open questions of alone; `mentioned` are the attributes of rows that
        rules ask for, `reducible` those of `open_sets.reducible_attributes`."""
        self._open_sets = open_sets
        self._mentioned = mentioned
        self._reducible = {name: sets for name, sets in reducible.items() if sets <= open_sets}
        self._sets: LRUCache[Caller, _Sets] = LRUCache(_REMEMBERED_MEMBERS, getsizeof=_size)

    def label(self, label: Label, caller: Caller) -> Label:
        """The label without what makes no difference to this caller."""
        attributes = tuple(
            (name, self._value(name, value, caller)) for name, value in label.attributes if name in self._mentioned
        )
        return label if attributes == label.attributes else _with_attributes(label, attributes)

    def sets(self, caller: Caller, labels: Iterable[Label]) -> dict[str, tuple[str, ...]]:
        """The caller's open sets, with the members that these labels have."""
        if not self._open_sets:
            return {}
        texts = frozenset[str]().union(*map(_texts_of, labels))
        sets = self._sets_of(caller) if texts else {}
        return {name: tuple(sorted(members & texts)) for name, members in sets.items()}

    def _value(self, name: str, value: AttributeValue, caller: Caller) -> AttributeValue:
        if name not in self._reducible or not isinstance(value, frozenset):
            return value
        sets = self._sets_of(caller)
        return value & frozenset[str]().union(*(sets[each] for each in self._reducible[name]))

    def _sets_of(self, caller: Caller) -> _Sets:
        sets = self._sets.get(caller)
        if sets is None:
            every: Mapping[str, Sequence[str]] = {GROUPS: caller.groups, READER_NAMES: caller.reader_names}
            sets = {name: frozenset(every[name]) for name in self._open_sets}
            self._sets[caller] = sets
        return sets


def _with_attributes(label: Label, attributes: tuple[tuple[str, AttributeValue], ...]) -> Label:
    return Label(label.tenant_id, label.sensitivity, label.topics, attributes)


def _texts_of(label: Label) -> frozenset[str]:
    """All that could be a member of a caller's set."""
    texts = {label.tenant_id, *label.topics}
    for _, value in label.attributes:
        texts.update(value if isinstance(value, frozenset) else {value} if isinstance(value, str) else ())
    return frozenset(texts)


def _size(sets: _Sets) -> int:
    return 1 + sum(map(len, sets.values()))
