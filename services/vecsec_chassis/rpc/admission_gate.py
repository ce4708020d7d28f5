"""Lets calls in by turns: `admission` decides, and here is what waits, is counted and is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit
from vecsec_chassis.admission.admission import Admission, State, Ticket
from vecsec_chassis.admission.refusal_pace import RefusalPace
from vecsec_chassis.admission.shares import ShareOf
from vecsec_chassis.admission.unsent_answers import COUNTED_BYTES, UnsentAnswers
from vecsec_chassis.calls import current_call
from vecsec_chassis.domain.errors import DeadlineExceeded, Overloaded, TenantLimit
from vecsec_chassis.rpc.interceptors import (
    Context,
    held_back,
)
from vecsec_chassis.rpc.loop_lag import LoopLag
from vecsec_chassis.telemetry.metrics import DurationHistogram, observe_value

log = structlog.get_logger()

_SLOW_SECONDS = 1.0
"""Who takes longer waits for something else than this process, and leaves its place to others."""
LOWEST_LIMIT, LOWEST_LIMIT_BETWEEN_SERVICES = 3, 8
"""Calls of the gateway take its own processor; behind it some wait for threads, a store or a disk."""
_LOOKS, _LOOK_SECONDS = 4, 0.005
"""For a request, until it is late: small ones come in one piece with their call's headers. Where the event loop is
late, a time alone would be over before anybody looked."""
_LATE_SECONDS = 0.004
"""Of the event loop: without a load it is some tenths of a millisecond."""
_TOLD_EVERY_SECONDS = 10.0


class Gate:
    """What calls of a service come through."""

    def __init__(
        self, meter: Meter, share_of: ShareOf, pace: RefusalPace | None, *, lowest_limit: int = LOWEST_LIMIT
    ) -> None:
        """Without `pace` refusals are told at once however many there are."""
        self.admission = Admission(
            AdaptiveLimit(time.monotonic, lowest=lowest_limit), time.monotonic, share_of=share_of
        )
        self._waits = DurationHistogram(
            meter,
            "vecsec_admission_wait",
            "How long calls waited for their turn, by method; no wait is none.",
            "method",
        )
        self.unsent = UnsentAnswers()
        self._pace = pace
        self._lag = LoopLag()
        self._told_at = 0.0
        self._told = 0
        self._observe(meter)

    async def come_in(self, method: str, tenant_id: str) -> Ticket:
        """Wait for a call's turn.

        Raises:
            Overloaded, TenantLimit: if it is turned away.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            ticket = self.admission.enter(tenant_id, method, current_call().deadline, lambda _: _wake(turn))
        except (Overloaded, TenantLimit):
            await self.hold_back(tenant_id)
            raise
        try:
            await self._wait(ticket, turn)
            self.unsent.refuse_who_does_not_read(tenant_id)  # what others of the tenant were answered meanwhile
        except BaseException as error:
            self.admission.leave(ticket, is_typical=False)
            if isinstance(error, TenantLimit):
                self.admission.counts.shed["unread"] += 1
                await self.hold_back(tenant_id)
            raise
        return ticket

    async def begin_stream(self, tenant_id: str) -> None:
        """Let a stream of requests begin; it has to leave `admission`.

        Raises:
            Overloaded, TenantLimit: if there are enough already.
        """
        try:
            self.admission.enter_stream(tenant_id)
        except (Overloaded, TenantLimit):
            await self.hold_back(tenant_id)
            raise

    async def receive(self, ticket: Ticket, request: Awaitable[bytes]) -> bytes:
        """Wait for the request of a call that came in. If it does not arrive at once, the place goes to others, and the
        call takes its turn again when it is there.

        Raises:
            Overloaded, TenantLimit: if it is turned away.
        """
        loop = asyncio.get_running_loop()
        refusal: Overloaded | TenantLimit | None = None

        def look(left: int) -> None:
            nonlocal refusal
            if left > 0:
                timers[0] = loop.call_later(_LOOK_SECONDS, look, left - 1)
                return
            try:
                self.admission.request_is_late(ticket)
            except (Overloaded, TenantLimit) as error:
                refusal = error
                patience.reschedule(loop.time())

        timers = [loop.call_later(_LOOK_SECONDS, look, _LOOKS - 1)]
        try:
            async with asyncio.timeout(None) as patience:
                message = await request
        except TimeoutError:
            raise refusal or DeadlineExceeded("the request did not arrive in time") from None
        finally:
            timers[0].cancel()
        if refusal is not None:  # it came in the same moment
            raise refusal
        was_late = ticket.state is State.RECEIVING
        turn: asyncio.Future[None] = loop.create_future()
        ticket.on_turn = lambda _: _wake(turn)
        self.admission.request_arrived(ticket)
        if was_late:
            await self._go_on(ticket, turn)
        return message

    async def come_back(self, ticket: Ticket, *, is_dear: bool) -> None:
        """Wait until a call that stepped aside may go on.

        Raises:
            Overloaded: if its time runs out meanwhile.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket.on_turn = lambda _: _wake(turn)
        self.admission.come_back(ticket, is_dear=is_dear)
        await self._go_on(ticket, turn)

    async def _go_on(self, ticket: Ticket, turn: "asyncio.Future[None]") -> None:
        """Wait for a place again, and have it for as long as any call has one."""
        await self._wait(ticket, turn)
        asyncio.get_running_loop().call_later(_SLOW_SECONDS, self.admission.give_place_up, ticket)

    async def hold_back(self, tenant_id: str) -> None:
        """Say now and then that calls are turned away, and wait until this one may be told."""
        self._tell()
        await held_back(self._pace, tenant_id)

    async def _wait(self, ticket: Ticket, turn: "asyncio.Future[None]") -> None:
        """Wait for the call's turn.

        Raises:
            Overloaded: if its time ran out meanwhile.
        """
        if ticket.state is State.WAITING:
            await turn
            seconds = time.monotonic() - ticket.arrived_at
            current_call().queued_seconds += seconds
            self._waits.add(seconds, ticket.method.rpartition("/")[2])
        if ticket.state is State.GONE:
            raise Overloaded("the call's time ran out while it waited for its turn", retry_after=1.0)

    async def serve(
        self, behaviour: Callable[[Any, Context], Any], request: Any, context: Context, ticket: Ticket
    ) -> Any:
        """Serve a call that came in."""
        self._lag.begin()
        timer = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self.admission.give_place_up, ticket)
        is_typical = False
        try:
            response = await behaviour(request, context)
            is_typical = True
        finally:
            timer.cancel()
            self._lag.end()
            self.admission.leave(ticket, is_typical=is_typical, is_late=self._lag.seconds > _LATE_SECONDS)
        return response

    async def refuse_who_does_not_read(self, tenant_id: str) -> None:
        """See that a tenant takes its answers before it asks for more.

        Raises:
            TenantLimit: if too much lies there for it.
        """
        try:
            self.unsent.refuse_who_does_not_read(tenant_id)
        except TenantLimit:
            self.admission.counts.shed["unread"] += 1
            await self.hold_back(tenant_id)
            raise

    async def keep_until_sent(self, tenant_id: str, size: int, context: Context) -> None:
        """Count an answer of so many bytes, if it is large, until gRPC has handed it over to the network.

        Raises:
            Overloaded, TenantLimit: if too much that is not read lies there.
        """
        if size >= COUNTED_BYTES:
            try:
                await self.unsent.claim(tenant_id, size)
            except (Overloaded, TenantLimit):
                self.admission.counts.shed["unread"] += 1
                raise
            cast("Any", context).add_done_callback(lambda _: self.unsent.release(tenant_id, size))

    def _tell(self) -> None:
        now, shed = time.monotonic(), sum(self.admission.counts.shed.values())
        if now - self._told_at >= _TOLD_EVERY_SECONDS:
            log.warning(
                "Calls are turned away: more is asked for than can be served in time",
                turned_away=shed - self._told,
                limit=self.admission.limit,
                served=self.admission.served,
                waiting=self.admission.waiting,
            )
            self._told_at, self._told = now, shed

    def _observe(self, meter: Meter) -> None:
        counts = self.admission.counts

        def admitted(_options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(counts.admitted)

        def shed(_options: CallbackOptions) -> Iterable[Observation]:
            for reason, count in counts.shed.items():
                yield Observation(count, {"reason": reason})

        meter.create_observable_counter(
            "vecsec_calls_admitted", callbacks=[admitted], description="Calls that were let in to be served."
        )
        meter.create_observable_counter(
            "vecsec_calls_shed",
            callbacks=[shed],
            description="Calls turned away: queue (many wait), no_time, tenant (its share), unread, late (requests).",
        )
        observe_value(
            meter,
            "vecsec_admission_limit",
            "How many calls are served at once, as learnt from how long they take.",
            lambda: self.admission.limit,
        )
        observe_value(
            meter,
            "vecsec_unsent_answer_bytes",
            "Bytes of large answers that their callers have not read yet.",
            lambda: self.unsent.total_bytes,
        )
        observe_value(meter, "vecsec_calls_waiting", "Calls that wait for their turn.", lambda: self.admission.waiting)


class PlaceAtGate:
    """A call's place."""

    __slots__ = ("_gate", "_ticket")

    def __init__(self, gate: Gate, ticket: Ticket) -> None:
        self._gate = gate
        self._ticket = ticket

    async def receive(self, request: Awaitable[bytes]) -> bytes:
        """As `Gate.receive`."""
        return await self._gate.receive(self._ticket, request)

    def step_aside(self) -> None:
        """As `Admission.step_aside`."""
        self._gate.admission.step_aside(self._ticket)

    def charge(self, seconds: float) -> None:
        """As `Admission.charge`."""
        self._gate.admission.charge(self._ticket, seconds)

    async def come_back(self, *, is_dear: bool) -> None:
        """As `Gate.come_back`."""
        await self._gate.come_back(self._ticket, is_dear=is_dear)


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
