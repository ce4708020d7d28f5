"""A few at a time, by turns of who asks."""

import asyncio

import pytest

from vecsec_chassis.admission.turns import FairTurns, TooManyWaiting


async def test_one_at_a_time_and_keys_take_turns() -> None:
    turns = FairTurns(1, most_waiting=10, most_waiting_of_a_key=10)
    order: list[str] = []

    async def take(key: str) -> None:
        async with turns.turn(key):
            order.append(key)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(key) for key in ("loud", "loud", "loud", "quiet")))
    assert order == ["loud", "loud", "quiet", "loud"]


async def test_who_leaves_the_queue_takes_no_place_with_it() -> None:
    turns = FairTurns(1, most_waiting=1, most_waiting_of_a_key=1)

    async def wait() -> None:
        async with turns.turn("a"):
            pass

    async with turns.turn("a"):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await wait()
        waiting.cancel()
        await asyncio.wait((waiting,))
    async with asyncio.timeout(5):
        await wait()


async def test_who_takes_more_waits_longer_for_the_next_turn() -> None:
    turns = FairTurns(1, most_waiting=100)
    order: list[str] = []

    async def take(key: str, cost: float) -> None:
        await turns.take(key, cost)
        order.append(key)
        await asyncio.sleep(0)
        turns.give_back()

    large = [take("large", 5.0) for _ in range(4)]
    await asyncio.gather(*large, *(take("small", 1.0) for _ in range(10)))
    assert [order[:8].count(key) for key in ("large", "small")] == [3, 5]


async def test_one_key_cannot_keep_all_others_from_waiting() -> None:
    turns = FairTurns(1, most_waiting=4, most_waiting_of_a_key=3)

    async def wait(key: str) -> str:
        async with turns.turn(key):
            return key

    async with turns.turn("loud"):
        loud = [asyncio.create_task(wait("loud")) for _ in range(4)]
        await asyncio.sleep(0)
        assert [each.done() for each in loud] == [False, False, False, True], "three of a key wait"
        others = [asyncio.create_task(wait(key)) for key in ("b", "c", "d")]
        for _ in range(3):
            await asyncio.sleep(0)
        assert [each.done() for each in loud] == [False, True, True, True], "the longest makes room, its last one first"
        with pytest.raises(TooManyWaiting):
            await wait("e")  # nobody has more than it would
    async with asyncio.timeout(5):
        assert [await each for each in others] == ["b", "c", "d"]
        assert await loud[0] == "loud"
        assert await wait("loud") == "loud"
    for each in loud[1:]:
        with pytest.raises(TooManyWaiting):
            await each
