"""The distinct labels of a collection as columns of numbers, so that a residual's classes are found without looking at
each label: what takes Python a second for 100,000 labels takes NumPy a millisecond.
"""

import heapq
from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from vecsec_chassis.domain.caller_sets import member_hash
from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema, type_of
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Label
from vecsec_retrieval.visibility.label_classes import (
    NO_SETS,
    AttributeUse,
    LabelClasses,
    SetQuestion,
    Sets,
    attribute_of,
    is_readable,
)
from vecsec_retrieval.visibility.tagging import label_key

Codes: TypeAlias = NDArray[np.int64]
Visible: TypeAlias = NDArray[np.bool_]
"""Which labels are visible, of shape (labels,), by code."""

_SPARSE_CLASSES_A_THING = 4
"""Beyond so many possible classes they are numbered anew, so that tables of them stay small."""
_COUNTED_CLASSES_A_THING = 64
_BYTES_PER_LABEL = 240
"""Its key, its places in the lists and the dictionary, and its number (measured)."""
_BYTES_PER_COLUMN_ENTRY = 4
_BYTES_PER_VALUE = 180
"""Its places in a column's tables, with the key in front of it (measured)."""
_BYTES_PER_HASH = 150
"""Of a member or text: itself, and its place in a dictionary."""
_REMEMBERED_BYTES = 4 * 1024 * 1024
"""For what callers see of a table's labels: 40 callers of a table of 100,000 labels, thousands of a usual one."""
_BYTES_OF_AN_ARRAY = 256
_TRUE, _FALSE, _TEXT, _NUMBER, _SET = range(5)
_KINDS_OF: Mapping[AttributeType | None, Sequence[int]] = {
    AttributeType.BOOL: (_TRUE, _FALSE),
    AttributeType.STRING: (_TEXT,),
    AttributeType.LONG: (_NUMBER,),
    AttributeType.TEXTS: (_SET,),
}


@dataclass(frozen=True, slots=True)
class _Classes:
    """A division of things into classes, numbered from 0; some numbers may be no thing's."""

    of_each: Codes
    count: int

    def divided_by(self, other: "_Classes") -> "_Classes":
        """Things are of one class if they are here and there."""
        both = _Classes(self.of_each * other.count + other.of_each, self.count * other.count)
        return both if both.count <= _SPARSE_CLASSES_A_THING * len(both.of_each) else both.without_gaps()

    def without_gaps(self) -> "_Classes":
        """The same, with numbers that are some thing's."""
        if self.count > _COUNTED_CLASSES_A_THING * len(self.of_each):
            used, renumbered = np.unique(self.of_each, return_inverse=True)
            return _Classes(renumbered, len(used))
        is_used = np.zeros(self.count, dtype=np.bool_)  # which takes a tenth of the time that sorting does
        is_used[self.of_each] = True
        numbers = np.cumsum(is_used) - 1
        return _Classes(numbers[self.of_each], int(numbers[-1]) + 1)


class LabelTable:
    """Labels, numbered in the order in which they came; none is ever taken out. Numbers are called codes."""

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self.labels: list[Label] = []
        """By code. May be longer than what a reader has seen of the table."""
        self.keys: list[str] = []
        """The labels' keys, by code."""
        self._code_of: dict[Label, int] = {}
        self._columns: dict[str, _Column] = {}
        self.unreadable: list[int] = []
        """Codes of labels that Cedar has no types for."""
        self._label_bytes = 0
        self._visible: LRUCache[Hashable, Visible] = LRUCache(_REMEMBERED_BYTES, getsizeof=_remembered_bytes)
        for label in labels:
            self.add(label)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the table takes, with the labels themselves."""
        columns = sum(column.approximate_bytes for column in self._columns.values())
        return self._label_bytes + len(self.labels) * _BYTES_PER_LABEL + columns + int(self._visible.currsize)

    def add(self, label: Label) -> int:
        """The code of a label, which is made if it is new."""
        code = self._code_of.get(label)
        if code is not None:
            return code
        code = self._code_of[label] = len(self.labels)
        self.labels.append(label)
        self.keys.append(label_key(label))
        self._label_bytes += label.weight // 2  # which takes every text for the widest
        if is_readable(label):
            for name in (*OWN_PARTS, *(name for name, _ in label.attributes)):
                value = attribute_of(label, name)
                if value is not None:
                    self._columns.setdefault(name, _Column()).set(code, value)
        else:
            self.unreadable.append(code)
        return code

    def code(self, label: Label) -> int | None:
        """The code of a label; None if it is not in the table."""
        return self._code_of.get(label)

    def classify(self, classes: LabelClasses, sets: Sets = NO_SETS) -> tuple[Codes, Codes]:
        """Which labels are of one class, for a caller with these sets.

        Returns the class of each label, of shape (labels,), and the codes of the first label of each class, of shape
        (classes,); -1 stands for classes without labels. Labels that Cedar cannot read are in the class of others, see
        `unreadable`.
        """
        count = len(self.labels)
        if classes.are_single:
            found = _Classes(np.arange(count), count)
        else:
            found = _Classes(np.zeros(count, dtype=np.int64), 1)
            for name, use in classes.uses.items():
                column = self._columns.get(name)
                if column is not None:  # otherwise no label has it
                    found = found.divided_by(column.classes(use, sets, count))
        readable = np.delete(np.arange(count), self.unreadable)[::-1]  # the first of a class is written last, and stays
        representatives = np.full(found.count, -1, dtype=np.int64)
        representatives[found.of_each[readable]] = readable
        return found.of_each, representatives

    def codes_beside(self, schema: LabelSchema) -> list[int]:
        """Codes of the labels that do not fit a schema, and of those that Cedar cannot read."""
        found = list(self.unreadable)
        for name, column in self._columns.items():
            if name not in OWN_PARTS and column.types != {schema.type_of(name)}:
                found += column.codes_of_other_types(schema.type_of(name))
        return found

    def visible_to(self, eyes: Hashable) -> Visible | None:
        """What `remember` was told of all labels that are here now."""
        visible = self._visible.get(eyes)
        return visible if visible is not None and len(visible) == len(self.labels) else None

    def remember(self, eyes: Hashable, visible: Visible) -> None:
        """Keep which labels a residual makes visible to a caller with some sets, while there is room and no label is
        added. `eyes` stands for both."""
        if _remembered_bytes(visible) <= _REMEMBERED_BYTES:
            self._visible[eyes] = visible

    def in_key_order(self, visible: Visible, *, after_key: str, limit: int) -> list[int]:
        """The codes of the first `limit` visible labels whose keys are behind `after_key`, in the order of the keys."""
        behind = (code for code in np.flatnonzero(visible).tolist() if self.keys[code] > after_key)
        return heapq.nsmallest(limit, behind, key=self.keys.__getitem__)


class _Column:
    """One attribute of all labels: its distinct values, numbered, and which of them each label has."""

    def __init__(self) -> None:
        self._value_of_label = array("i")  # -1 where the label lacks the attribute; may be shorter than the labels
        self._number_of: dict[tuple[type, AttributeValue], int] = {}
        self.types: set[AttributeType | None] = set()
        """Of all its values."""
        self._kinds = array("b")
        self._numbers = array("q")
        self._set_sizes = array("i")
        self._with_member: dict[str, array[int]] = {}
        self._with_hash: dict[bytes, list[array[int]]] = {}
        """The same, by the members' hashes: all whose hash it is, for somebody may have looked for two names of one."""
        self._member_bytes = 0
        self._texts: dict[bytes, list[int]] = {}
        """The numbers of texts by their hashes; made when it is first asked for, up to `_hashed_values`."""
        self._hashed_values = 0

    @property
    def approximate_bytes(self) -> int:
        return (
            len(self._value_of_label) * _BYTES_PER_COLUMN_ENTRY
            + len(self._number_of) * _BYTES_PER_VALUE
            + self._member_bytes
            + len(self._texts) * _BYTES_PER_HASH
        )

    def set(self, code: int, value: AttributeValue) -> None:
        """The label of this code, which is above all before it, has this value."""
        self._value_of_label.extend([-1] * (code - len(self._value_of_label)))
        key = (type(value), value)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self._number_of)
            self._add_value(number, value)
        self._value_of_label.append(number)

    def classes(self, use: AttributeUse, sets: Sets, count: int) -> _Classes:
        """The classes of the first `count` labels by their values; the last is of those that lack the attribute."""
        values = self._classes_of_values(use)
        for name, question in use.questions:
            answers = self._answers(question, sets[name]).astype(np.int64)
            values = values.divided_by(_Classes(answers, 2))
        numbers = self._numbers_of_labels(count)
        return _Classes(np.append(values.of_each, values.count)[numbers], values.count + 1)

    def codes_of_other_types(self, declared: AttributeType | None) -> list[int]:
        """Codes of the labels that have the attribute with a value of another type, whatever it is for None."""
        is_other = ~np.isin(np.array(self._kinds, dtype=np.int64), _KINDS_OF.get(declared, ()))
        numbers = np.array(self._value_of_label, dtype=np.int64)
        return [int(code) for code in np.flatnonzero((numbers >= 0) & is_other[numbers])]

    def _numbers_of_labels(self, count: int) -> Codes:
        numbers = np.full(count, -1, dtype=np.int64)
        known = min(count, len(self._value_of_label))
        numbers[:known] = np.array(self._value_of_label)[:known]
        return numbers

    def _add_value(self, number: int, value: AttributeValue) -> None:
        self.types.add(type_of(value))
        self._kinds.append(_kind(value))
        self._numbers.append(value if isinstance(value, int) else 0)
        members = value if isinstance(value, frozenset) else frozenset()
        self._set_sizes.append(len(members))
        for member in members:
            having = self._with_member.get(member)
            if having is None:
                having = self._with_member[member] = array("i")
                self._with_hash.setdefault(member_hash(member), []).append(having)
                self._member_bytes += _BYTES_PER_VALUE + _BYTES_PER_HASH
            having.append(number)
            self._member_bytes += having.itemsize

    def _answers(self, question: SetQuestion, members: AbstractSet[bytes]) -> Visible:
        """The answer for each value: as much work as there are members, and values that have one of them."""
        if question is SetQuestion.IS_MEMBER_OF:
            texts = self._numbers_of_texts()
            answers = np.zeros(len(self._kinds), dtype=np.bool_)
            answers[[number for each in members & texts.keys() for number in texts[each]]] = True
            return answers
        postings = (having for each in members & self._with_hash.keys() for having in self._with_hash[each])
        known = [np.frombuffer(having, dtype=np.int32) for having in postings]
        having = np.concatenate(known) if known else np.zeros(0, dtype=np.int32)
        counts = np.bincount(having, minlength=len(self._kinds))
        if question is SetQuestion.HAS_MEMBER_OF:
            return counts > 0
        is_set = np.array(self._kinds) == _SET
        within: Visible = is_set & (counts == np.array(self._set_sizes))
        return within

    def _numbers_of_texts(self) -> dict[bytes, list[int]]:
        for (kind, value), number in islice(self._number_of.items(), self._hashed_values, None):
            if kind is str:
                self._texts.setdefault(member_hash(str(value)), []).append(number)
        self._hashed_values = len(self._number_of)
        return self._texts

    def _classes_of_values(self, use: AttributeUse) -> _Classes:
        if use.is_exact:
            return _Classes(np.arange(len(self._kinds)), len(self._kinds))
        kinds = np.array(self._kinds, dtype=np.int64)
        texts = sorted(use.texts)
        # First a class for each kind's values that equal no constant, then those that need classes of their own.
        classes, count = kinds.copy(), _SET + 1
        for position, text in enumerate(texts):
            known = self._number_of.get((str, text))
            if known is not None:
                classes[known] = count + position
        count += len(texts)
        is_number = kinds == _NUMBER
        if is_number.any():
            values, constants = np.array(self._numbers)[is_number], np.array(use.numbers, dtype=np.int64)
            # Twice the constants below, and one more on a constant itself: a class between two, and one on each.
            places = np.searchsorted(constants, values, "left") + np.searchsorted(constants, values, "right")
            classes[is_number] = count + places
            count += 2 * len(constants) + 1
        is_set = kinds == _SET
        if is_set.any():
            sets = self._classes_of_sets(texts, np.flatnonzero(is_set))
            classes[is_set] = count + sets.of_each
            count += sets.count
        return _Classes(classes, count)

    def _classes_of_sets(self, texts: Sequence[str], sets: Codes) -> _Classes:
        """By which of the constants they have, and by whether they have others."""
        known = [self._with_member[text] for text in texts if text in self._with_member]
        has = np.zeros((len(self._kinds), len(known) + 1), dtype=np.bool_)
        for position, members in enumerate(known):
            has[np.array(members), position] = True
        has[:, -1] = np.array(self._set_sizes) > has[:, :-1].sum(axis=1)
        classes = _Classes(np.zeros(len(sets), dtype=np.int64), 1)
        for byte in np.packbits(has[sets], axis=1).T:
            classes = classes.divided_by(_Classes(byte.astype(np.int64), 256).without_gaps())
        return classes


def _remembered_bytes(visible: Visible) -> int:
    return visible.nbytes + _BYTES_OF_AN_ARRAY


def _kind(value: AttributeValue) -> int:
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, str):
        return _TEXT
    return _NUMBER if isinstance(value, int) else _SET
