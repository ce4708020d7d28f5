"""Decodes requests and holds them to the rules that stand in the contracts (protovalidate)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator, Violation

from vecsec_chassis.admission.turns import FairTurns, TooManyWaiting
from vecsec_chassis.calls import current_tenant
from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest, TenantLimit
from vecsec_chassis.rpc.malformed_messages import invalid_utf8_field

_FULL_REPORT_BYTES = 1024
"""Up to here all bad fields are named, beyond it the first: a message of 20 kB can hold so many that to find them all
takes seconds (measured), and whoever sends it need not even be authenticated."""
_SHOWN_KEY_CHARACTERS = 64
_INLINE_BYTES = 16 * 1024
"""Larger requests are read in a thread: 1,000 documents with vectors take 50 ms, in which nothing else was served."""

_MOST_WAITING, _MOST_WAITING_OF_ONE = 1024, 64
"""Twice as many of a tenant as it may have imports open. Between services, where a request itself says whose it is, all
count as one."""
_RETRY_SECONDS = 1.0

_validator = Validator()
_validator_of_large_requests = Validator()
"""One of their own, so that small ones never wait for it."""
_thread_of_large_requests = ThreadPoolExecutor(1, thread_name_prefix="large-requests")
"""One after the other: threads that compute take the interpreter from the event loop, each for its time, so that eight
of them made everybody's calls ten times as long (measured)."""


class RequestReader:
    """Reads the requests of one server; where large ones wait for their thread, tenants take turns by their bytes."""

    def __init__(self) -> None:
        self._turns = FairTurns(1, most_waiting=_MOST_WAITING, most_waiting_of_a_key=_MOST_WAITING_OF_ONE)

    async def read(self, kind: type[Message], data: bytes, *, max_bytes: int) -> Message:
        """As `decode`; while a large request is read, the event loop goes on.

        Raises:
            TenantLimit: if more of them wait than a tenant may have waiting.
        """
        if not _INLINE_BYTES < len(data) <= max_bytes:
            return decode(kind, data, max_bytes=max_bytes)
        try:
            await self._turns.take(current_tenant(), len(data) / _INLINE_BYTES)
        except TooManyWaiting:
            raise TenantLimit(
                "your tenant has as many large requests waiting to be read as it may; send fewer at the same time",
                retry_after=_RETRY_SECONDS,
            ) from None
        work = partial(decode, kind, data, max_bytes=max_bytes, validator=_validator_of_large_requests)
        reading = asyncio.get_running_loop().run_in_executor(_thread_of_large_requests, work)
        # Its place is free when the thread is, also if the call is cancelled: else who cancels would fill the queue.
        reading.add_done_callback(lambda _: self._turns.give_back())
        return await asyncio.shield(reading)


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
