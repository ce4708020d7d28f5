"""Who is served, who waits, who is turned away: no wire, and a clock that stands still until it is told."""

from collections.abc import Callable

import pytest

from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit
from vecsec_chassis.admission.admission import Admission, State, Ticket
from vecsec_chassis.admission.shares import Share, equal_shares
from vecsec_chassis.domain.errors import Overloaded, TenantLimit


class Service:
    """Serves up to so many calls at once."""

    def __init__(self, places: int, share_of: Callable[[str], Share] = equal_shares) -> None:
        self.now = 0.0
        limit = AdaptiveLimit(lambda: self.now, lowest=places, initial=places, highest=places)
        self.admission = Admission(limit, lambda: self.now, share_of=share_of, spread=lambda low, _: low)
        self.turns: list[Ticket] = []

    def enter(self, tenant_id: str, seconds: float | None = None) -> Ticket:
        deadline = None if seconds is None else self.now + seconds
        return self.admission.enter(tenant_id, "Search", deadline, self.turns.append)

    def serve(self, ticket: Ticket, seconds: float = 0.01) -> None:
        self.now += seconds
        self.admission.leave(ticket)


def test_a_free_place_is_taken_at_once_and_the_next_call_waits() -> None:
    service = Service(2)
    first, second, third = (service.enter("a") for _ in range(3))
    assert [each.state for each in (first, second, third)] == [State.SERVED, State.SERVED, State.WAITING]
    service.serve(first)
    assert third.state is State.SERVED
    assert service.turns == [third]


def test_a_quiet_tenant_is_next_whatever_waits_of_a_loud_one() -> None:
    service = Service(1)
    served = service.enter("loud")
    for _ in range(15):
        service.enter("loud")
    quiet = service.enter("quiet")
    service.serve(served)
    if quiet.state is State.WAITING:
        service.serve(service.turns[-1])
    assert quiet.state is State.SERVED


def test_whose_deadline_cannot_be_met_is_turned_away_at_once() -> None:
    service = Service(1)
    served = service.enter("a")
    for _ in range(10):
        service.enter("a")
    for _ in range(5):
        service.serve(served, 0.1)
        served = service.turns[-1]
    with pytest.raises(Overloaded) as refused:
        service.enter("a", seconds=0.05)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 0
    assert service.enter("a", seconds=30).state is State.WAITING
    assert service.admission.counts.shed["no_time"] == 1


def test_a_queue_is_short_and_its_refusals_are_the_services_if_there_is_one_tenant() -> None:
    service = Service(1)
    service.admission._interval = 0.1
    service.enter("a")
    for _ in range(16):
        service.enter("a")
    with pytest.raises(Overloaded):
        service.enter("a")
    assert service.admission.waiting == 16


def test_the_refusals_of_a_loud_tenant_beside_others_are_its_own() -> None:
    service = Service(1)
    service.admission._interval = 0.1
    service.enter("loud")
    service.enter("quiet")
    for _ in range(16):
        service.enter("loud")
    with pytest.raises(TenantLimit):
        service.enter("loud")
    assert service.enter("quiet").state is State.WAITING


def test_a_share_bounds_what_a_tenant_has_at_once_and_may_refuse_altogether() -> None:
    def share_of(tenant_id: str) -> Share:
        if tenant_id == "stopped":
            raise TenantLimit("no more today", retry_after=60)
        return Share(most_at_once=2, most_streams=1)

    service = Service(10, share_of)
    first = service.enter("a")
    service.enter("a")
    with pytest.raises(TenantLimit):
        service.enter("a")
    service.enter("b")
    service.serve(first)
    assert service.enter("a").state is State.SERVED
    with pytest.raises(TenantLimit, match="no more today"):
        service.enter("stopped")
    service.admission.enter_stream("a")
    with pytest.raises(TenantLimit):
        service.admission.enter_stream("a")
    service.admission.leave_stream("a")
    service.admission.enter_stream("a")


def test_who_waits_for_something_else_leaves_its_place_to_others() -> None:
    service = Service(1)
    stuck = service.enter("a")
    waiting = service.enter("b")
    service.admission.give_place_up(stuck)
    assert (stuck.state, waiting.state) == (State.SLOW, State.SERVED)
    service.serve(stuck)
    service.serve(waiting)
    assert (service.admission.served, service.admission.waiting) == (0, 0)


def test_who_hangs_up_while_waiting_takes_no_place() -> None:
    service = Service(1)
    served, gone, last = (service.enter("a") for _ in range(3))
    service.admission.leave(gone, is_typical=False)
    service.serve(served)
    assert last.state is State.SERVED
    assert service.turns == [last]


def test_whose_time_ran_out_meanwhile_is_not_served() -> None:
    service = Service(1)
    served = service.enter("a")
    late = service.enter("a", seconds=1)
    last = service.enter("a")
    service.serve(served, 2)
    assert (late.state, last.state) == (State.GONE, State.SERVED)
    service.admission.leave(late)
    service.serve(last)
    assert service.enter("a").state is State.SERVED


def test_who_has_not_sent_its_request_keeps_no_place() -> None:
    service = Service(1)
    silent, other = service.enter("a"), service.enter("b")
    service.admission.request_is_late(silent)
    assert (silent.state, other.state) == (State.RECEIVING, State.SERVED)
    service.admission.request_arrived(silent)
    assert service.turns == [other]
    service.serve(other)
    assert service.turns == [other, silent]
    service.serve(silent)
    assert service.admission.counts.admitted == 2
    assert (service.admission.served, service.admission.waiting) == (0, 0)


def test_few_requests_of_a_tenant_are_waited_for_and_those_that_end_make_room() -> None:
    service = Service(1)

    def silent(tenant_id: str) -> Ticket:
        ticket = service.enter(tenant_id)
        try:
            service.admission.request_is_late(ticket)
        except (Overloaded, TenantLimit):
            service.admission.leave(ticket)
            raise
        return ticket

    waited_for = [silent("a") for _ in range(32)]
    with pytest.raises(TenantLimit):
        silent("a")
    for tenant_id in "bcd":
        for _ in range(32):
            silent(tenant_id)
    with pytest.raises(Overloaded):
        silent("e")
    assert service.admission.counts.shed["late"] == 2
    service.admission.leave(waited_for[0], is_typical=False)
    silent("a")
    assert service.enter("f").state is State.SERVED, "none of them has the place"


def test_who_used_places_for_longest_waits_longest() -> None:
    service = Service(1)
    served = service.enter("dear")
    waiting = [service.enter(tenant_id) for tenant_id in ("dear", "dear", "cheap", "cheap")]
    service.admission.step_aside(served)  # it goes on as a dear one, which is charged all that it takes
    service.admission.come_back(served, is_dear=True)
    order = []
    while service.turns:
        ticket = service.turns.pop(0)
        order.append(ticket.tenant_id)
        service.serve(ticket, 1.0 if ticket is served else 0.005)
    assert order[:2] == ["dear", "cheap"], "the first one that waited, then who used least"
    assert order.count("cheap") == 2
    assert all(each.state is State.GONE for each in waiting)


def test_a_tenant_within_its_share_is_not_refused_while_another_stalls_the_service() -> None:
    service = Service(2)
    service.admission._interval = 1.0
    for _ in range(2):
        ticket = service.enter("loud")
        service.admission.step_aside(ticket)
        service.admission.come_back(ticket, is_dear=True)
    stalled = service.enter("quiet")
    service.serve(stalled, 1.0)  # what takes long is others' doing
    stalling = service.enter("loud")
    quiet = [service.enter("quiet") for _ in range(60)]
    assert stalling.state is State.SERVED
    assert all(each.state is State.WAITING for each in quiet)
    with pytest.raises(Overloaded):
        service.enter("quiet", seconds=0.1)  # that it has no time is so, and nobody's share


def test_refusals_for_others_sake_are_never_called_ones_own() -> None:
    """Whoever used no more than the mean is told that the service is overloaded, however many of its calls wait."""
    service = Service(1)
    service.admission._interval = 1.0
    service.admission._use.add("loud", 100.0)
    service.admission._use.add("middle", 40.0)
    service.enter("other")
    for _ in range(16):
        service.enter("middle")
        service.enter("loud")
    with pytest.raises(Overloaded):
        service.enter("middle")
    with pytest.raises(TenantLimit):
        service.enter("loud")


def test_dear_calls_have_half_of_the_places() -> None:
    service = Service(4)
    dear = [service.enter(f"tenant {number}") for number in range(3)]
    for ticket in dear:
        service.admission.step_aside(ticket)
        service.admission.come_back(ticket, is_dear=True)
    assert [each.state for each in dear] == [State.SERVED, State.SERVED, State.WAITING]
    plain = [service.enter("other") for _ in range(2)]
    assert [each.state for each in plain] == [State.SERVED] * 2
    service.serve(plain[0])
    assert dear[2].state is State.WAITING
    service.serve(dear[0])
    assert dear[2].state is State.SERVED
    for ticket in (*dear[1:], plain[1]):
        service.serve(ticket)
    assert (service.admission.served, service.admission.waiting) == (0, 0)
    assert service.admission.counts.admitted == 5, "each once, though some had a place twice"


def test_who_waits_for_its_turn_elsewhere_keeps_no_place() -> None:
    service = Service(1)
    aside, other = service.enter("a"), service.enter("b")
    service.admission.step_aside(aside)
    assert (aside.state, other.state) == (State.ASIDE, State.SERVED)
    gone = service.enter("a")
    service.admission.come_back(aside, is_dear=False)
    service.admission.leave(gone, is_typical=False)
    assert aside.state is State.WAITING
    service.serve(other)
    assert aside.state is State.SERVED
    service.admission.step_aside(aside)
    service.admission.leave(aside, is_typical=False)  # it hung up meanwhile
    assert service.enter("c").state is State.SERVED
