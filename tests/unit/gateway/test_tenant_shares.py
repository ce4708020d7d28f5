"""What tenants and callers have of a gateway, by a clock of the test's own."""

import asyncio
from dataclasses import replace

import pytest

from vecsec.type.v1.query_pb2 import (
    SEARCH_MODE_HYBRID,
    SEARCH_MODE_TEXT,
    SEARCH_MODE_UNSPECIFIED,
    SEARCH_MODE_VECTOR,
    Query,
    SearchMode,
    Vector,
)
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import TenantLimit
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import GENEROUS, Limit, TenantLimits
from vecsec_gateway.limits import tenant_shares
from vecsec_gateway.limits.cost import (
    DEAR,
    PLAIN,
    batch_cost,
    explain_cost,
    listing_cost,
    lookup_cost,
    search_cost,
    whole_search_cost,
)
from vecsec_gateway.limits.report import used_shares
from vecsec_gateway.limits.talkers import TopTalkers
from vecsec_gateway.limits.tenant_shares import TenantShares
from vecsec_gateway.peers.contract import BatchQuery, MetadataFilter, Search, SearchBatch

NO_FILTER = MetadataFilter()

ALICE = Identity("alice", "tenant_a", "guest", Sensitivity.PUBLIC, "issuer", 0.0)
BOB = replace(ALICE, subject="bob")
DAVE = replace(ALICE, subject="dave")
CAROL = replace(ALICE, subject="carol", tenant_id="tenant_b")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def shares(clock: Clock, replicas: int = 1) -> tuple[TenantShares, list[Limit]]:
    refused: list[Limit] = []
    return TenantShares(clock, replicas=replicas, on_refusal=refused.append), refused


def test_a_dear_call_counts_as_several_for_its_tenant_alone() -> None:
    clock = Clock()
    parts, refused = shares(clock)
    limits = replace(GENEROUS, searches_per_second=10)
    parts.enter(ALICE, 19.0, limits)
    with pytest.raises(TenantLimit) as told:
        parts.enter(BOB, 2.0, limits)
    assert (told.value.metadata["limit"], told.value.retry_after) == ("searches_per_second", pytest.approx(0.1))
    parts.enter(CAROL, 19.0, limits)
    clock.now += 0.1
    parts.enter(BOB, 2.0, limits)
    assert refused == [Limit.SEARCHES_PER_SECOND]


def test_the_dear_calls_of_a_tenant_are_bounded_whoever_makes_them() -> None:
    clock = Clock()
    parts, refused = shares(clock)
    limits = replace(GENEROUS, dear_units_per_second=50)
    for number in range(5):
        parts.leave(parts.enter(replace(ALICE, subject=f"caller {number}"), 20.0, limits))
    with pytest.raises(TenantLimit) as told:
        parts.enter(BOB, 20.0, limits)
    assert told.value.metadata["limit"] == "dear_units_per_second"
    assert told.value.retry_after == pytest.approx(0.4)
    parts.leave(parts.enter(BOB, 1.0, limits))
    parts.leave(parts.enter(CAROL, 20.0, limits))
    assert refused == [Limit.DEAR_UNITS_PER_SECOND]


async def test_dear_calls_of_a_tenant_take_turns_and_few_wait() -> None:
    parts, refused = shares(Clock())
    tickets = [parts.enter(ALICE if number % 2 else DAVE, 5.0, GENEROUS) for number in range(16)]
    with pytest.raises(TenantLimit):
        parts.enter(BOB, 5.0, GENEROUS)
    assert refused == [Limit.DEAR_UNITS_PER_SECOND]
    begun: list[int] = []

    async def call(number: int) -> None:
        await parts.turn(tickets[number], 60.0)
        begun.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(16)]
    await asyncio.sleep(0)
    assert begun == [0, 1]
    for number in range(14):
        parts.end_turn(tickets[number])
        parts.leave(tickets[number])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert begun == list(range(16)), "in the order in which they came"
    await asyncio.gather(*calls)
    parts.enter(BOB, 5.0, GENEROUS)
    plain = parts.enter(ALICE, 1.0, GENEROUS)
    await parts.turn(plain, 60.0)


async def test_who_waits_too_long_for_a_turn_is_told_when_to_come_back_and_is_charged_nothing() -> None:
    clock = Clock()
    parts, refused = shares(clock)
    limits = replace(GENEROUS, caller_units_per_second=10)
    running = [parts.enter(each, 5.0, limits) for each in (ALICE, BOB)]
    for ticket in running:
        await parts.turn(ticket, 60.0)
    for _ in range(10):
        late = parts.enter(ALICE, 5.0, limits)
        with pytest.raises(TenantLimit, match="dear calls of your tenant take turns") as told:
            await parts.turn(late, 0.001)
        parts.leave(late)
        assert told.value.metadata == {"limit": "dear_units_per_second", "value": "200"}
        assert told.value.retry_after is not None
        assert told.value.retry_after > 0
    assert refused == [Limit.DEAR_UNITS_PER_SECOND] * 10
    parts.end_turn(running[0])
    parts.leave(running[0])
    await parts.turn(parts.enter(ALICE, 5.0, limits), 60.0)


def test_one_caller_leaves_half_of_all_places_to_the_others_of_its_tenant() -> None:
    parts, refused = shares(Clock())
    limits = replace(GENEROUS, concurrent_calls=7)
    tickets = [parts.enter(ALICE, 1.0, limits) for _ in range(4)]
    with pytest.raises(TenantLimit, match=r"half of the calls in progress that your tenant may \(7\)") as told:
        parts.enter(ALICE, 1.0, limits)
    assert told.value.metadata == {"limit": "concurrent_calls", "value": "7"}
    assert told.value.retry_after is not None
    for _ in range(3):
        parts.enter(BOB, 1.0, limits)
    parts.leave(tickets[0])
    parts.enter(ALICE, 1.0, limits)
    dear = [parts.enter(CAROL, 5.0, GENEROUS) for _ in range(8)]
    with pytest.raises(TenantLimit):
        parts.enter(CAROL, 5.0, GENEROUS)
    parts.enter(replace(CAROL, subject="erin"), 5.0, GENEROUS)
    for ticket in dear:
        parts.leave(ticket)
    assert parts.usage("tenant_b").concurrent_calls == 1
    assert refused == [Limit.CONCURRENT_CALLS, Limit.DEAR_UNITS_PER_SECOND]


async def test_callers_take_turns_however_many_calls_of_one_wait() -> None:
    parts, _ = shares(Clock())
    tickets = [parts.enter(each, 5.0, GENEROUS) for each in (ALICE, ALICE, ALICE, ALICE, ALICE, BOB)]
    begun: list[int] = []

    async def call(number: int) -> None:
        await parts.turn(tickets[number], 60.0)
        begun.append(number)
        await asyncio.sleep(0)
        parts.end_turn(tickets[number])

    await asyncio.gather(*(call(number) for number in range(6)))
    assert begun.index(5) < 4


def test_a_refused_call_takes_nothing() -> None:
    clock = Clock()
    parts, _ = shares(clock)
    limits = replace(GENEROUS, caller_units_per_second=10)
    parts.enter(ALICE, 20.0, limits)
    for _ in range(50):
        with pytest.raises(TenantLimit) as told:
            parts.enter(ALICE, 20.0, limits)
        assert told.value.retry_after == pytest.approx(2.0)
    assert parts.usage("tenant_a").concurrent_calls == 1
    clock.now += 2.0
    parts.enter(ALICE, 20.0, limits)


def test_a_denied_call_costs_what_a_plain_one_does() -> None:
    clock = Clock()
    parts, _ = shares(clock)
    limits = replace(GENEROUS, caller_units_per_second=10)
    for _ in range(10):
        parts.leave(parts.enter(ALICE, 10.0, limits), was_denied=True)
    parts.leave(parts.enter(ALICE, 10.0, limits))
    with pytest.raises(TenantLimit):
        parts.enter(ALICE, 10.0, limits)


def test_calls_in_progress_are_counted_and_given_back() -> None:
    clock = Clock()
    parts, _ = shares(clock)
    limits = replace(GENEROUS, concurrent_calls=2)
    first, _ = parts.enter(ALICE, 1.0, limits), parts.enter(BOB, 1.0, limits)
    with pytest.raises(TenantLimit) as told:
        parts.enter(ALICE, 1.0, limits)
    assert told.value.metadata == {"limit": "concurrent_calls", "value": "2"}
    clock.now += 0.5
    parts.leave(first)
    parts.enter(ALICE, 1.0, limits)


def test_each_of_several_gateways_gives_its_part() -> None:
    clock = Clock()
    parts, _ = shares(clock, replicas=10)
    limits = replace(GENEROUS, searches_per_second=10, concurrent_calls=3)
    ticket = parts.enter(ALICE, 1.0, limits)
    with pytest.raises(TenantLimit) as told:
        parts.enter(ALICE, 1.0, limits)
    assert told.value.metadata["limit"] == "concurrent_calls", "one call at least, however many gateways there are"
    parts.leave(ticket)
    parts.leave(parts.enter(ALICE, 1.0, limits))
    with pytest.raises(TenantLimit) as told:
        parts.enter(ALICE, 1.0, limits)
    assert told.value.retry_after == pytest.approx(1.0)


def test_what_is_kept_of_tenants_and_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_shares, "_MOST_TENANTS", 10)
    monkeypatch.setattr(tenant_shares, "_MOST_CALLERS", 10)
    parts, _ = shares(Clock())
    for number in range(100):
        identity = replace(ALICE, tenant_id=f"tenant_{number}", subject=f"caller {number}")
        parts.leave(parts.enter(identity, 50.0, GENEROUS))
    assert (len(parts._shares), len(parts._callers)) == (10, 10)


def test_who_uses_most_is_found_among_ever_so_many() -> None:
    talkers = TopTalkers()
    for number in range(1_000):
        talkers.add(f"caller {number}", 1.0)
        talkers.add("mallory", 5.0)
    [(name, units), *_] = talkers.top(3)
    assert (name, units) == ("mallory", 5_000.0)
    assert len(talkers.top(10_000)) == 32


def test_a_minute_says_how_much_of_each_limit_was_used() -> None:
    clock = Clock()
    parts, _ = shares(clock)
    limits = TenantLimits(searches_per_second=10, concurrent_calls=4)
    for _ in range(480):
        clock.now += 0.125
        parts.leave(parts.enter(ALICE, 1.0, limits))
    [(tenant_id, minute)] = parts.end_minute()
    assert tenant_id == "tenant_a"
    assert used_shares(minute, limits, 1) == {
        Limit.SEARCHES_PER_SECOND: pytest.approx(0.8),
        Limit.CONCURRENT_CALLS: 0.25,
        Limit.DEAR_UNITS_PER_SECOND: 0.0,
        Limit.CALLER_UNITS_PER_SECOND: 0.0,
    }
    assert list(parts.end_minute()) == [], "nothing happened since"


def test_what_calls_cost() -> None:
    many = MetadataFilter()
    getattr(many, "in").values.add(string_value="x" * 146_000)
    assert search_cost(10, NO_FILTER, embeddings=False) == pytest.approx(1.07, abs=0.01)
    assert search_cost(10, many, embeddings=False) > 30
    assert search_cost(1_000, NO_FILTER, embeddings=True) > search_cost(1_000, NO_FILTER, embeddings=False) > 5
    assert lookup_cost(1) < 1.1
    assert listing_cost(1) == pytest.approx(2.0, abs=0.01)
    assert listing_cost(1_000) < DEAR, "whoever walks through all ids is not stopped"
    assert explain_cost(200) < 3
    assert explain_cost(70_000) > 15


def test_a_filter_that_looks_at_texts_costs_more_however_it_is_nested() -> None:
    text = MetadataFilter(text_contains=MetadataFilter.TextContains(text="a"))
    nested = MetadataFilter(
        all_of=MetadataFilter.AllOf(filters=[text, MetadataFilter(any_of=MetadataFilter.AnyOf(filters=[text, text]))])
    )
    negated = MetadataFilter()
    getattr(negated, "not").filter.CopyFrom(nested)
    plain = search_cost(10, NO_FILTER, embeddings=False)
    assert search_cost(10, negated, embeddings=False) == pytest.approx(plain + 4 + 2 * 0.5, abs=0.02)
    assert listing_cost(10, text) == pytest.approx(listing_cost(10) + 4, abs=0.01)
    assert search_cost(10, text, embeddings=False) > DEAR


def test_each_query_of_a_batch_counts_and_less_than_alone() -> None:
    def batch(*queries: BatchQuery) -> float:
        return batch_cost(SearchBatch(queries=queries))

    one = BatchQuery(k=10)
    alone = search_cost(10, NO_FILTER, embeddings=False)
    assert PLAIN < batch(one) < batch(one, one) < 2 * alone
    assert batch(*[one] * 32) > DEAR
    assert batch(BatchQuery(k=10, offset=300)) > batch(one) + 1.9
    assert batch(BatchQuery(k=100, distinct_texts=True)) == pytest.approx(batch(BatchQuery(k=400)) + 1)
    phrase = BatchQuery(k=10, query=Query(text='a "phrase"'))
    assert batch(phrase, phrase) > batch(phrase) + 2 * PLAIN


@pytest.mark.parametrize(
    ("text", "mode", "least", "most"),
    [
        ("some words", SEARCH_MODE_VECTOR, 1.0, 1.1),
        ("some words", SEARCH_MODE_TEXT, 1.5, 1.7),
        ("some words", SEARCH_MODE_UNSPECIFIED, 1.5, 1.7),
        ("word " * 3_000, SEARCH_MODE_HYBRID, 4.0, DEAR),
        ('of a "phrase"', SEARCH_MODE_VECTOR, 1.0, 1.1),
        ('of a "phrase"', SEARCH_MODE_TEXT, 11.0, 12.0),
        ("of a \u201ephrase\u201c", SEARCH_MODE_UNSPECIFIED, 11.0, 12.0),
        ("\uff02phrase\uff02", SEARCH_MODE_HYBRID, 11.0, 12.0),
        ('5" is no phrase', SEARCH_MODE_TEXT, 1.5, 1.7),
    ],
)
def test_words_cost_more_and_phrases_much_more(text: str, mode: SearchMode, least: float, most: float) -> None:
    search = Search(query=Query(text=text), k=10, mode=mode)
    distinct = Search(query=Query(text=text), k=10, mode=mode, distinct_texts=True)

    assert least < whole_search_cost(search, embeddings=False) < most
    assert whole_search_cost(distinct, embeddings=False) > 2 * whole_search_cost(search, embeddings=False)
    assert whole_search_cost(Search(query=Query(vector=Vector(values=[1])), k=10), embeddings=False) < 1.1
