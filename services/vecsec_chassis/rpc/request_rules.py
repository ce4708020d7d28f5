"""Decodes requests and holds them to the rules that stand in the contracts (protovalidate)."""

import asyncio
import time
from contextlib import suppress

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator, Violation

from vecsec_chassis.admission.turns import FairTurns, TooManyWaiting
from vecsec_chassis.calls import charge, current_call, current_tenant, stood_aside
from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest, TenantLimit
from vecsec_chassis.rpc.admission_interceptors import TenantOfGrant
from vecsec_chassis.rpc.element_counts import NotAMessage, counted
from vecsec_chassis.rpc.grant_at_front import grant_at_front
from vecsec_chassis.rpc.malformed_messages import invalid_utf8_field
from vecsec_chassis.rpc.piecewise_rules import PiecewiseRules

_FULL_REPORT_BYTES = 1024
"""Up to here all bad fields are named, beyond it the first: a message of 20 kB can hold so many that to find them all
takes seconds (measured), and whoever sends it need not even be authenticated."""
_SHOWN_KEY_CHARACTERS = 64
_INLINE_BYTES = 16 * 1024
"""Larger requests are read piece by piece, one after another: 1,000 documents with vectors take 50 ms, in which nothing
else was served. No thread would help, for neither library lets the others have the interpreter meanwhile."""
_SLICE_BYTES = 4096
"""After so many others get their turn."""

_MOST_WAITING, _MOST_WAITING_OF_ONE = 1024, 64
"""Twice as many of a tenant as it may have imports open. Between services a request is the tenant's whose grant it
brings; all without a valid one are one tenant."""
_MOST_GRANT_CHARACTERS = 65_536
_RETRY_SECONDS = 1.0

_validator = Validator()
_piecewise = PiecewiseRules()


class RequestReader:
    """Reads the requests of one server; where large ones wait to be read, tenants take turns by their bytes."""

    def __init__(self, tenant_of_grant: TenantOfGrant | None = None) -> None:
        """`tenant_of_grant` where callers have no tokens."""
        self._tenant_of_grant = tenant_of_grant
        self._turns = FairTurns(1, most_waiting=_MOST_WAITING, most_waiting_of_a_key=_MOST_WAITING_OF_ONE)

    async def read(self, kind: type[Message], data: bytes, *, max_bytes: int) -> Message:
        """As `decode`; while a large request is read, others get their turn, and its call keeps no place from them.

        Raises:
            InvalidRequest: as `decode`.
            TenantLimit: if more of them wait than a tenant may have waiting.
        """
        if not _INLINE_BYTES < len(data) <= max_bytes:
            return decode(kind, data, max_bytes=max_bytes)
        async with stood_aside(is_dear=True):
            try:
                await self._turns.take(await self._tenant_of(data), len(data) / _INLINE_BYTES)
            except TooManyWaiting:
                raise TenantLimit(
                    "your tenant has as many large requests waiting to be read as it may; send fewer at the same time",
                    retry_after=_RETRY_SECONDS,
                ) from None
            try:
                return await _read_in_slices(kind, data)
            except InvalidRequest as error:
                del data
                raise error.with_traceback(None) from None  # where it is kept, it would keep the message
            finally:
                self._turns.give_back()

    async def _tenant_of(self, data: bytes) -> str:
        """Whose turn a request takes. Of a stream of requests one may bring the grant for those behind it."""
        if self._tenant_of_grant is None:
            return current_tenant()
        call = current_call()
        call.has_large_request = True
        grant = grant_at_front(data)
        if 0 < len(grant) <= _MOST_GRANT_CHARACTERS:
            call.granted_tenant = await self._tenant_of_grant(grant) or call.granted_tenant
        return call.granted_tenant


async def _read_in_slices(kind: type[Message], data: bytes) -> Message:
    """As `decode`, letting others have their turn after every few pieces. Who sent what is refused pays for it."""
    slices = _Slices()
    try:
        await _count(kind, data, slices)
        message = _parsed(kind, data)
        await _look_at(message, slices)
    except InvalidRequest:
        charge(slices.seconds())
        raise
    return message


async def _count(kind: type[Message], data: bytes, slices: "_Slices") -> None:
    """See that there is not too much in a message, before any of it is decoded.

    Raises:
        InvalidRequest: if there is, or if it cannot be decoded.
    """
    with suppress(NotAMessage):
        for _ in counted(kind, data):
            await slices.end()
        return
    raise _undecodable(kind)


async def _look_at(message: Message, slices: "_Slices") -> None:
    """See that a message keeps the rules.

    Raises:
        InvalidRequest: naming the first field that does not.
    """
    looked_at = _SLICE_BYTES  # decoding was a slice by itself
    for size, violations in _piecewise.look_at(message):
        if violations:
            raise InvalidRequest([_field_violation(violation, path) for path, violation in violations])
        looked_at += size
        if looked_at >= _SLICE_BYTES:
            looked_at = 0
            await slices.end()


class _Slices:
    """Measures how long the event loop was kept, without what others did in their turns."""

    def __init__(self) -> None:
        self._before = 0.0
        self._began_at = time.perf_counter()

    async def end(self) -> None:
        """Give the others their turn."""
        self._before = self.seconds()
        await asyncio.sleep(0)
        self._began_at = time.perf_counter()

    def seconds(self) -> float:
        """Of all slices so far."""
        return self._before + time.perf_counter() - self._began_at


def decode(kind: type[Message], data: bytes, *, max_bytes: int) -> Message:
    """The request in `data`, which keeps every rule of its contract.

    Raises:
        InvalidRequest: naming the bad fields (of large requests the first one), or `request` where it is too large or
            cannot be decoded.
    """
    if len(data) > max_bytes:
        raise InvalidRequest.of(
            "request", f"is {len(data):,} bytes long, more than the {max_bytes:,} that are served; send less at once"
        )
    message = _parsed(kind, data)
    violations = _validator.collect_violations(message, fail_fast=len(data) > _FULL_REPORT_BYTES)
    if violations:
        raise InvalidRequest([_field_violation(violation) for violation in violations])
    return message


def _parsed(kind: type[Message], data: bytes) -> Message:
    with suppress(DecodeError):
        return kind.FromString(data)
    field = invalid_utf8_field(kind, data)
    raise _undecodable(kind) if field is None else InvalidRequest.of(field, "is not valid UTF-8")


def _undecodable(kind: type[Message]) -> InvalidRequest:
    return InvalidRequest.of("request", f"cannot be decoded as {kind.DESCRIPTOR.full_name}")


def _field_violation(violation: Violation, prefix: str = "") -> FieldViolation:
    rule = violation.proto
    elements = rule.field.elements if rule.field is not None else ()
    path = prefix + "".join(f".{element.field_name}{_subscript(element)}" for element in elements)
    return FieldViolation(path.lstrip(".") or "request", rule.message or f"breaks the rule {rule.rule_id}")


def _subscript(element: object) -> str:
    subscript = getattr(element, "subscript", None)
    if subscript is None:
        return ""
    value = subscript.value
    return f"[{value[:_SHOWN_KEY_CHARACTERS]!r}]" if isinstance(value, str) else f"[{value!r}]"
