"""The call that is being served: who calls, under which request id, and how much time is left; and new ids."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.trace import Span

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import InvalidToken


class Place(Protocol):
    """A call's place among those that are served."""

    async def receive(self, request: Awaitable[bytes]) -> bytes:
        """Wait for the call's request, without a place if that takes long.

        Raises:
            Overloaded, TenantLimit: if it is turned away.
        """

    def step_aside(self) -> None:
        """Leave the place to others, until `come_back`: the call waits for its turn at something else."""

    def charge(self, seconds: float) -> None:
        """Charge the call's tenant for what was done for it without a place."""

    async def come_back(self, *, is_dear: bool) -> None:
        """Wait for a place again. Dear calls have a part of them only.

        Raises:
            Overloaded: if the call's time runs out meanwhile.
        """


@dataclass(slots=True)
class Call:
    """One call, from the moment it arrived."""

    method: str
    """Full method name, such as `/vecsec.gateway.v1.GatewayService/SearchDocuments`."""
    request_id: str
    deadline: float | None
    """On the monotonic clock, in seconds; None if the caller set none."""
    queued_seconds: float = 0.0
    """How long it waited here for its turn."""
    place: Place | None = None
    """Among those that are served; None where it has none yet, or none is needed."""
    identity: Identity | None = None
    token: str = ""
    has_large_request: bool = False
    """So large that it was read in slices; such calls are dear."""
    granted_tenant: str = ""
    """Whose valid grant came with the call, where there is no token; for turns alone."""
    peers: tuple[str, ...] = ()
    """The machines on the caller's way here, by the first name in their certificates; the last one proved it to us.
    Empty without TLS."""
    store_id: str = ""
    """Which vector store the caller means; empty if it does not say."""
    span: Span | None = None
    """What is recorded of the call; None if nothing is."""
    is_traced: bool = False
    """Whether it is part of a trace, recorded here or elsewhere, which goes on to our peers."""
    reason: str = ""
    """Why it ends as it does: of an error its reason, of made-up rows why they are; empty for an answer."""
    is_mock: bool = False
    """Whether its answer is made up."""


_current: ContextVar[Call | None] = ContextVar("vecsec_call", default=None)


def enter(call: Call) -> None:
    """Make this the current call of the running task."""
    _current.set(call)


def current_call() -> Call:
    """The call being served.

    Raises:
        LookupError: outside of a call, which is a fault of ours.
    """
    call = _current.get()
    if call is None:
        raise LookupError("no call is being served here")
    return call


def current_identity() -> Identity:
    """Who calls.

    Raises:
        InvalidToken: if the call was not authenticated; so a forgotten interceptor refuses instead of letting through.
    """
    identity = current_call().identity
    if identity is None:
        raise InvalidToken("this call needs a token", detail="the call was not authenticated")
    return identity


def current_tenant() -> str:
    """The caller's own tenant; empty where no token says it."""
    call = _current.get()
    return "" if call is None or call.identity is None else call.identity.tenant_id


def current_token() -> str:
    """The caller's own verified token, to be passed on to the policy service."""
    current_identity()
    return current_call().token


def current_request_id() -> str:
    """The id under which logs, traces and audit records have this call; empty outside of a call."""
    call = _current.get()
    return call.request_id if call is not None else ""


def current_peers() -> tuple[str, ...]:
    """The machines on the caller's way here; empty outside of a call."""
    call = _current.get()
    return call.peers if call is not None else ()


def current_store_id() -> str:
    """Which vector store the caller means; empty if it does not say, and outside of a call."""
    call = _current.get()
    return call.store_id if call is not None else ""


def current_span() -> Span | None:
    """What is recorded of the call; None if nothing is, once the call has ended, and outside of a call. To ask
    opentelemetry takes five calls of Python."""
    call = _current.get()
    span = None if call is None else call.span
    return span if span is not None and span.is_recording() else None


def is_traced() -> bool:
    """Whether the call is part of a trace, recorded here or elsewhere."""
    call = _current.get()
    return call is not None and call.is_traced


def queued_seconds() -> float:
    """How long the call waited in this service for its turn; 0.0 outside of a call."""
    call = _current.get()
    return 0.0 if call is None else call.queued_seconds


def time_remaining() -> float | None:
    """Seconds until the caller's deadline (may be negative); None if there is none."""
    call = _current.get()
    if call is None or call.deadline is None:
        return None
    return call.deadline - time.monotonic()


@asynccontextmanager
async def stood_aside(*, is_dear: bool) -> AsyncIterator[None]:
    """Let the current call, if it has a place, leave it to others until the block ends, and count the time as queued.
    The block is for waiting; what is dear goes on as such."""
    call = _current.get()
    place = None if call is None else call.place
    if call is None or place is None:
        yield
        return
    began_at = time.monotonic()
    place.step_aside()
    yield
    call.queued_seconds += time.monotonic() - began_at
    await place.come_back(is_dear=is_dear)


def charge(seconds: float) -> None:
    """Charge the current call's tenant for what was done for it while it stood aside; nothing if it has no place."""
    call = _current.get()
    if call is not None and call.place is not None:
        call.place.charge(seconds)


def note_mock(reason: str) -> None:
    """The current call is answered with made-up rows, for this reason; nothing outside of a call."""
    call = _current.get()
    if call is not None:
        call.is_mock, call.reason = True, reason


_generator = random.Random(secrets.randbits(256))  # noqa: S311 (no secret)


def unique_id() -> str:
    """128 random bits in hexadecimal digits, which no two things share. They give no rights: nobody gains by guessing
    one. `uuid4` asks the operating system each time, which takes longer than many a decision."""
    return f"{_generator.getrandbits(128):032x}"
