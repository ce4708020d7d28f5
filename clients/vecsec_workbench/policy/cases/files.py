"""Reads suites of policy cases from YAML. A misspelt key or a wrong word is a mistake that is named with its line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from protovalidate import Validator, Violation

from vecsec.policy.v1 import policy_test_suite_pb2 as pb
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.folder.positioned_yaml import Positioned, read_text

_SUFFIXES = {".yaml", ".yml", ".json"}
_validator = Validator()


@dataclass(frozen=True, slots=True)
class SourcedCase:
    """A case, and where it stands."""

    suite: str
    """The name of its file, without the suffix."""
    place: str
    """`file:line`."""
    case: pb.PolicyTestCase


def read_suites(folder: Path) -> list[SourcedCase]:
    """All cases of a folder's files, or of one file.

    Raises:
        CommandFailure: with file, line and reason.
    """
    files = [folder] if folder.is_file() else sorted(file for file in folder.glob("*") if file.suffix in _SUFFIXES)
    if not files:
        raise CommandFailure(f"{folder}: no suite (*.yaml) is there")
    try:
        return [case for file in files for case in _read(file)]
    except ConfigurationError as error:
        raise CommandFailure(str(error)) from error


def _read(file: Path) -> Iterator[SourcedCase]:
    root = Positioned.parse(file, read_text(file))
    suite = pb.PolicyTestSuite()
    _fill(suite, root)
    for violation in _validator.collect_violations(suite):
        _refuse(root, violation)
    places = root.fields("a suite", _names(suite))["cases"].items("cases")
    for place, case in zip(places, suite.cases, strict=True):
        yield SourcedCase(file.stem, place.place, case)


def _fill(message: Message, value: Positioned) -> None:
    """Read a message from a mapping whose keys are its fields."""
    what = message.DESCRIPTOR.name
    for name, part in value.fields(what, _names(message)).items():
        field, target = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
        for item in part.items(f"{name} of {what}") if field.is_repeated else [part]:
            if field.message_type in {None, struct_pb2.Struct.DESCRIPTOR}:
                _parse(message, {name: [item.plain()] if field.is_repeated else item.plain()}, item)
            else:
                child = target.add() if field.is_repeated else target
                child.SetInParent()
                _fill(child, item)


def _parse(message: Message, fields: dict[str, Any], value: Positioned) -> None:
    read = type(message)()
    try:
        json_format.ParseDict(fields, read)
    except json_format.ParseError as error:
        value.refuse(str(error).removesuffix("."))
    message.MergeFrom(read)  # parsing into it would replace what a list has already


def _refuse(root: Positioned, violation: Violation) -> None:
    """Complain about the value that breaks a rule or, where it is missing, about what lacks it."""
    place, path = root, []
    field = violation.proto.field
    for element in field.elements if field is not None else ():
        path.append(element.field_name)
        inner = place.member(element.field_name)
        if inner is None:
            break
        place = inner
        if element.subscript is not None:
            place = place.member(element.subscript.value) or place
    place.refuse(f"{'.'.join(path)}: {violation.proto.message}")


def _names(message: Message) -> frozenset[str]:
    return frozenset(message.DESCRIPTOR.fields_by_name)
