"""Holds a message to the rules of its contract piece by piece, so that others get their turn in between.

protovalidate keeps the interpreter until it has looked at all of a message, also in a thread: a filter of ten thousand
values stopped the whole service for 30 ms (measured). Here each element of a list is looked at for itself, and what is
around it as if its lists had nothing to be held to but their length: by the same contract, in which the lists' elements
are marked as not to be looked at. So all rules are those of the contract, and the verdict is the one of the whole.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator, Violation

from vecsec_chassis.rpc.element_counts import most_elements

_PIECE_BYTES = 4096
"""Looked at in less than a millisecond. An element that is longer is taken apart, too, if it has lists."""
_ELEMENTS_IGNORED = bytes.fromhex("ba48089201052203d80103")
"""Options of a field: `(buf.validate.field).repeated.items.ignore = IGNORE_ALWAYS`."""


class PiecewiseRules:
    """The rules of all contracts, and the same without those of lists' elements."""

    def __init__(self) -> None:
        self._whole = Validator()
        self._around = Validator()
        self._pool = DescriptorPool()
        self._files: set[str] = set()

    def look_at(self, message: Message, path: str = "") -> Iterator[tuple[int, Sequence[tuple[str, Violation]]]]:
        """Look at one piece after another: its size in bytes and what is wrong with it, each with the path to where it
        was found."""
        size = message.ByteSize()
        if size <= _PIECE_BYTES:
            yield size, [(path, each) for each in self._whole.collect_violations(message, fail_fast=True)]
            return
        around = self._kind_around(cast("Descriptor", message.DESCRIPTOR))()
        _copy_around(message, around)
        yield _PIECE_BYTES, [(path, each) for each in self._around.collect_violations(around, fail_fast=True)]
        for inner_path, element in _elements(message, path):
            yield from self.look_at(element, inner_path)

    def _kind_around(self, descriptor: Descriptor) -> type[Message]:
        self._add(descriptor.file)
        return GetMessageClass(self._pool.FindMessageTypeByName(descriptor.full_name))

    def _add(self, file: FileDescriptor) -> None:
        if file.name in self._files:
            return
        self._files.add(file.name)
        for dependency in file.dependencies:
            self._add(dependency)
        copy = FileDescriptorProto()
        file.CopyToProto(copy)
        for message in copy.message_type:
            _ignore_elements(file.message_types_by_name[message.name], message)
        self._pool.Add(copy)


def _ignore_elements(descriptor: Descriptor, copy: DescriptorProto) -> None:
    for field in copy.field:
        if is_list_of_messages(descriptor.fields_by_name[field.name]):
            field.options.MergeFromString(_ELEMENTS_IGNORED)
    for nested in copy.nested_type:
        _ignore_elements(descriptor.nested_types_by_name[nested.name], nested)


def is_list_of_messages(field: FieldDescriptor) -> bool:
    """Whether a field is one; maps are none."""
    return field.is_repeated and field.message_type is not None and not _is_map(field)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _copy_around(message: Message, around: Message) -> None:
    """Copy a message, with empty elements in its lists of messages, and of lists no more than shows that they are too
    long."""
    for field, value in message.ListFields():
        if field.is_repeated and not _is_map(field):
            most = most_elements(field)
            copied, end = getattr(around, field.name), None if most is None else most + 1
            if field.message_type is None:
                copied.extend(value[:end])
            else:
                for _ in value[:end]:
                    copied.add()
        elif field.message_type is None:
            setattr(around, field.name, value)
        elif not field.is_repeated:
            getattr(around, field.name).SetInParent()
            _copy_around(value, getattr(around, field.name))
        elif field.message_type.fields_by_name["value"].message_type is None:
            getattr(around, field.name).update(value)
        else:
            for key in value:
                _copy_around(value[key], getattr(around, field.name)[key])


def _elements(message: Message, path: str) -> Iterator[tuple[str, Message]]:
    """The elements of all lists of messages in a message that are not in one another, with their paths."""
    for field, value in message.ListFields():
        own_path = f"{path}.{field.name}" if path else field.name
        if field.message_type is None:
            continue
        if not field.is_repeated:
            yield from _elements(value, own_path)
        elif not _is_map(field):
            yield from ((f"{own_path}[{number}]", element) for number, element in enumerate(value))
        elif field.message_type.fields_by_name["value"].message_type is not None:
            for key in value:
                yield from _elements(value[key], f"{own_path}[{key!r}]")
