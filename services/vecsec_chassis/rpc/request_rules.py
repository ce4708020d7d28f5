"""Decodes requests and holds them to the rules that stand in the contracts (protovalidate)."""

import asyncio

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator, Violation

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_chassis.rpc.malformed_messages import invalid_utf8_field

_FULL_REPORT_BYTES = 1024
"""Up to here all bad fields are named, beyond it the first: a message of 20 kB can hold so many that to find them all
takes seconds (measured), and whoever sends it need not even be authenticated."""
_SHOWN_KEY_CHARACTERS = 64
_INLINE_BYTES = 16 * 1024
"""Larger requests are read in a thread: 1,000 documents with vectors take 50 ms, in which nothing else was served."""

_validator = Validator()
_validator_of_large_requests = Validator()
"""One of their own, so that small ones never wait for it."""


async def read(kind: type[Message], data: bytes, *, max_bytes: int) -> Message:
    """As `decode`; while a large request is read, the event loop goes on."""
    if len(data) <= _INLINE_BYTES:
        return decode(kind, data, max_bytes=max_bytes)
    return await asyncio.to_thread(decode, kind, data, max_bytes=max_bytes, validator=_validator_of_large_requests)


def decode(kind: type[Message], data: bytes, *, max_bytes: int, validator: Validator = _validator) -> Message:
    """The request in `data`, which keeps every rule of its contract.

    Raises:
        InvalidRequest: naming the bad fields (of large requests the first one), or `request` where it is too large or
            cannot be decoded.
    """
    if len(data) > max_bytes:
        raise InvalidRequest.of(
            "request", f"is {len(data):,} bytes long, more than the {max_bytes:,} that are served; send less at once"
        )
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        field = invalid_utf8_field(kind, data)
        if field is not None:
            raise InvalidRequest.of(field, "is not valid UTF-8") from error
        raise InvalidRequest.of("request", f"cannot be decoded as {kind.DESCRIPTOR.full_name}") from error
    violations = validator.collect_violations(message, fail_fast=len(data) > _FULL_REPORT_BYTES)
    if violations:
        raise InvalidRequest([_field_violation(violation) for violation in violations])
    return message


def _field_violation(violation: Violation) -> FieldViolation:
    rule = violation.proto
    elements = rule.field.elements if rule.field is not None else ()
    path = "".join(f".{element.field_name}{_subscript(element)}" for element in elements).lstrip(".")
    return FieldViolation(path or "request", rule.message or f"breaks the rule {rule.rule_id}")


def _subscript(element: object) -> str:
    subscript = getattr(element, "subscript", None)
    if subscript is None:
        return ""
    value = subscript.value
    return f"[{value[:_SHOWN_KEY_CHARACTERS]!r}]" if isinstance(value, str) else f"[{value!r}]"
