"""Says which field of an undecodable message is to blame, so that the sender need not guess."""

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message


def invalid_utf8_field(kind: type[Message], data: bytes) -> str | None:
    """The path of the first text field that is not valid UTF-8; None if something else is wrong with the message.

    The data is decoded again as a twin of the message whose text fields are bytes, for the decoder itself does not say
    which field it refused.
    """
    twin = _bytes_twin(kind.DESCRIPTOR.full_name, kind.DESCRIPTOR.file)
    try:
        message = twin.FromString(data)
    except DecodeError:
        return None
    return _first_invalid(message, kind.DESCRIPTOR)


@functools.cache
def _bytes_twin(full_name: str, file: FileDescriptor) -> type[Message]:
    pool = descriptor_pool.DescriptorPool()
    _add_with_dependencies(pool, file, set())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def _add_with_dependencies(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add_with_dependencies(pool, dependency, added)
    definition = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(definition)
    for message in definition.message_type:
        _texts_to_bytes(message)
    pool.Add(definition)


def _texts_to_bytes(message: descriptor_pb2.DescriptorProto) -> None:
    message.options.ClearField("map_entry")  # a map cannot have bytes as keys; on the wire it is a repeated message
    for field in message.field:
        if field.type == FieldDescriptor.TYPE_STRING:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("default_value")
    for nested in message.nested_type:
        _texts_to_bytes(nested)


def _first_invalid(message: Message, original: Any) -> str | None:
    for field, value in message.ListFields():
        described = original.fields_by_name[field.name]
        values = list(value) if field.is_repeated else [value]
        for index, item in enumerate(values):
            path = f"{field.name}[{index}]" if field.is_repeated else field.name
            if isinstance(item, Message):
                inner = _first_invalid(item, described.message_type)
                if inner is not None:
                    return f"{path}.{inner}"
            elif described.type == FieldDescriptor.TYPE_STRING and not _is_utf8(item):
                return path
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
