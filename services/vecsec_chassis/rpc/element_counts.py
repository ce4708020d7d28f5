"""Counts what a message holds before it is decoded, and stops where that is more than its contract allows.

An empty element takes two bytes on the wire and a hundred in memory, and no rule is looked at before all of it is
decoded: 16 MiB of them took 1.8 GiB and three seconds (measured). Here nothing is made of the bytes: their fields are
skipped from one to the next, and of a list that is too long no more is looked at than is allowed, plus one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from vecsec_chassis.domain.errors import InvalidRequest

FIELDS_A_TURN = 512
"""Half a millisecond."""
_MOST_FIELDS = 256 * 1024
"""That are looked at in one message, whatever its lists allow. An import of as much as is allowed has 190,000."""
_MOST_DEPTH = 100
"""protobuf's own."""
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _DELIMITED,
    FieldDescriptor.TYPE_BYTES: _DELIMITED,
    FieldDescriptor.TYPE_MESSAGE: _DELIMITED,
}
"""By type; all others are varints."""
_GOES_ON = 0x80
_LARGE = 2**31
"""As no message is."""
_BYTES_THAT_GO_ON = bytes(range(0x80, 0x100))
_RULES_OF_FIELDS, _RULES_OF_LISTS, _RULES_OF_MAPS, _MOST = 1159, 18, 19, 2
"""`(buf.validate.field)`, its `.repeated` and `.map`, and of these `max_items` and `max_pairs`."""


class NotAMessage(Exception):
    """The bytes are none that can be decoded."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What there is to count in a field."""

    name: str
    most: int | None
    """Elements, or entries of a map; None where it is neither."""
    complaint: str = ""
    inner: "_Kind | None" = None
    """Of a message in which there is something to count."""
    packed: int | None = None
    """The wire type of its elements, where they are packed into one."""
    small_bytes: int = 0
    """Up to this size there cannot be too much of anything in an element."""


@dataclass(slots=True)
class _Kind:
    """A kind of message: what there is to count in it, by the tag that stands before it."""

    fields: dict[int, _Field] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A message whose fields are being looked at."""

    kind: _Kind
    end: int
    path: str
    counts: dict[str, int] = field(default_factory=dict)
    singles: "dict[str, _Open]" = field(default_factory=dict)
    """The messages in it that are no elements of lists. One that stands there again is merged, and so are its lists."""

    def count(self, known: _Field, more: int) -> int | None:
        """Count more elements of a list; the number of the last one, None if the field is no list.

        Raises:
            InvalidRequest: if these are more than are allowed.
        """
        if known.most is None:
            return None
        count = self.counts[known.name] = self.counts.get(known.name, 0) + more
        if count > known.most:
            raise InvalidRequest.of(self.path + known.name, known.complaint)
        return count - 1

    def inside(self, known: _Field, number: int | None, end: int) -> "_Open | None":
        """The message in a field that ends there, in a list the element of that number; None if there is nothing to
        count in it."""
        if known.inner is None or not known.inner.fields:
            return None
        if number is not None:
            return _Open(known.inner, end, f"{self.path}{known.name}[{number}].")
        opened = self.singles.setdefault(known.name, _Open(known.inner, end, f"{self.path}{known.name}."))
        opened.end = end
        return opened


def counted(kind: type[Message], data: bytes) -> Iterator[None]:
    """Look at the fields of a message, some at a time.

    What stands there more than once counts as often, also entries of a map with the same key.

    Raises:
        InvalidRequest: if a list or a map holds more than its contract allows, or the whole too much.
        NotAMessage: if the bytes cannot be decoded.
    """
    around: list[_Open] = []
    here = _Open(_kind(kind.DESCRIPTOR), len(data), "")
    at = start = looked_at = 0
    while True:
        fields, end = here.kind.fields, here.end
        inside = None
        while at < end:
            looked_at += 1
            if looked_at % FIELDS_A_TURN == 0:
                _refuse_too_many(looked_at)
                yield
            tag, at = (data[at], at + 1) if data[at] < _GOES_ON else _varint(data, at, end)
            start, at = _value(data, at, end, tag)
            known = fields.get(tag)
            if known is None:
                continue
            number = here.count(known, 1 if known.packed is None else _packed(data, start, at, known.packed))
            if number is not None and at - start <= known.small_bytes:
                continue
            inside = here.inside(known, number, at)
            if inside is not None:
                break
        if inside is not None:
            if len(around) >= _MOST_DEPTH:
                raise NotAMessage
            around.append(here)
            here, at = inside, start
        elif around:
            here = around.pop()
        else:
            return


def _refuse_too_many(fields: int) -> None:
    if fields > _MOST_FIELDS:
        raise InvalidRequest.of("request", f"holds more than {_MOST_FIELDS:,} values; send less at once")


def _packed(data: bytes, start: int, end: int, wire_type: int) -> int:
    """How many elements are packed there."""
    if wire_type == _FIXED32:
        return (end - start) // 4
    if wire_type == _FIXED64:
        return (end - start) // 8
    return len(data[start:end].translate(None, _BYTES_THAT_GO_ON))


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, and where it ends."""
    number = shift = 0
    for place in range(at, min(at + _MOST_VARINT_BYTES, end)):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place + 1
        shift += 7
    raise NotAMessage


def _value(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Where the value behind a tag begins and ends. Groups, which no contract of ours has, are none."""
    wire_type = tag & 7
    if wire_type == _DELIMITED:
        length, at = (data[at], at + 1) if at < end and data[at] < _GOES_ON else _varint(data, at, end)
        after = at + length
    elif wire_type == _VARINT:
        _, after = _varint(data, at, end)
    elif wire_type == _FIXED32:
        after = at + 4
    elif wire_type == _FIXED64:
        after = at + 8
    else:
        raise NotAMessage
    if after > end:
        raise NotAMessage
    return at, after


@cache
def _kind(descriptor: Descriptor) -> _Kind:
    return _kinds(descriptor, {})


def _kinds(descriptor: Descriptor, known: dict[str, _Kind]) -> _Kind:
    """The kind of a message and of all those in it, which may be in one another."""
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    kind = known[descriptor.full_name] = _Kind()
    for each in descriptor.fields:
        if each.message_type is None and not each.is_repeated:
            continue
        wire_type = _WIRE_TYPES.get(each.type, _VARINT)
        made = _Field(
            each.name,
            *_limit(each),
            inner=None if each.message_type is None else _kinds(each.message_type, known),
            small_bytes=_LARGE if each.message_type is None else _small_bytes(each.message_type, set()),
        )
        kind.fields[each.number << 3 | wire_type] = made
        if wire_type != _DELIMITED:
            kind.fields[each.number << 3 | _DELIMITED] = replace(made, packed=wire_type)
    return kind


def _small_bytes(descriptor: Descriptor, seen: set[str]) -> int:
    """The smallest size of as many elements as a list in such a message may have; two bytes each, if not packed."""
    seen.add(descriptor.full_name)
    sizes = [_LARGE]
    for each in descriptor.fields:
        if each.is_repeated:
            sizes.append((most_elements(each) or 0) * (1 if _WIRE_TYPES.get(each.type, _VARINT) == _VARINT else 2))
        if each.message_type is not None and each.message_type.full_name not in seen:
            sizes.append(_small_bytes(each.message_type, seen))
    return min(sizes)


def _limit(each: FieldDescriptor) -> tuple[int | None, str]:
    """How many elements a field may have, and what is said of more, in the words of protovalidate."""
    if not each.is_repeated:
        return None, ""
    most = most_elements(each) or _LARGE
    is_map = bool(_rules(each, _RULES_OF_MAPS))
    return most, f"map must be at most {most} entries" if is_map else f"must contain no more than {most} item(s)"


def most_elements(each: FieldDescriptor) -> int | None:
    """How many elements the contract lets a list or a map have; None if it does not say."""
    rules = [*_rules(each, _RULES_OF_LISTS), *_rules(each, _RULES_OF_MAPS)]
    return min((int(most) for rule in rules for most in _numbered(_MOST, Empty.FromString(rule))), default=None)


def _rules(each: FieldDescriptor, number: int) -> list[bytes]:
    options = _numbered(_RULES_OF_FIELDS, each.GetOptions())
    return [rule for option in options for rule in _numbered(number, Empty.FromString(option))]


def _numbered(number: int, message: Message) -> list[Any]:
    """The values of an unknown field; that of the rules is one as long as nobody has loaded their contract."""
    fields: Any = UnknownFieldSet(message)  # the type stubs do not know that it can be iterated over
    return [each.data for each in fields if each.field_number == number]
