"""What lies there unread is bounded for each tenant and for all."""

import asyncio

import pytest

from vecsec_chassis.admission import unsent_answers
from vecsec_chassis.admission.unsent_answers import (
    MOST_BYTES_OF_A_TENANT,
    MOST_WAITING_BYTES,
    MOST_WAITING_BYTES_OF_A_TENANT,
    UnsentAnswers,
)
from vecsec_chassis.domain.errors import Overloaded, TenantLimit


async def test_who_reads_nothing_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent_answers, "_WAIT_SECONDS", 0.05)
    answers = UnsentAnswers()
    await answers.claim("a", 15_000_000)
    await answers.claim("a", 15_000_000)
    with pytest.raises(Overloaded):
        await answers.claim("a", 15_000_000)
    await answers.claim("b", MOST_BYTES_OF_A_TENANT + 1)  # one alone may be larger
    with pytest.raises(TenantLimit):
        answers.refuse_who_does_not_read("b")
    answers.refuse_who_does_not_read("a")


async def test_what_is_read_makes_room() -> None:
    answers = UnsentAnswers()
    await answers.claim("a", MOST_BYTES_OF_A_TENANT)
    waiting = asyncio.create_task(answers.claim("a", 1_000_000))
    await asyncio.sleep(0)
    assert not waiting.done()
    answers.release("a", MOST_BYTES_OF_A_TENANT)
    await waiting
    assert answers.total_bytes == 1_000_000


async def test_what_waits_is_counted_and_bounded_too() -> None:
    answers = UnsentAnswers()
    size = 15 * 1024 * 1024
    await answers.claim("a", size)
    await answers.claim("a", size)
    waiting = [asyncio.create_task(answers.claim("a", size)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [each for each in waiting if each.done()]
    assert len(refused) == 99
    assert {type(each.exception()) for each in refused} == {TenantLimit}
    assert answers.total_bytes == 3 * size <= MOST_BYTES_OF_A_TENANT + MOST_WAITING_BYTES_OF_A_TENANT
    with pytest.raises(TenantLimit):
        answers.refuse_who_does_not_read("a")
    (last,) = (each for each in waiting if not each.done())
    last.cancel()
    await asyncio.wait((last,))
    assert answers.total_bytes == 2 * size, "who hangs up waits for nothing"


async def test_what_waits_of_all_tenants_is_bounded() -> None:
    answers = UnsentAnswers()
    for number in range(4):
        await answers.claim(f"full {number}", MOST_BYTES_OF_A_TENANT)
    size = MOST_WAITING_BYTES_OF_A_TENANT
    waiting = [asyncio.create_task(answers.claim(f"other {number}", size)) for number in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [each.done() for each in waiting] == [False] * 4 + [True]
    assert isinstance(waiting[4].exception(), Overloaded)
    assert answers.total_bytes == 4 * MOST_BYTES_OF_A_TENANT + MOST_WAITING_BYTES
    answers.release("full 0", MOST_BYTES_OF_A_TENANT)
    await asyncio.wait(waiting[:4], return_when=asyncio.FIRST_COMPLETED)
    assert sum(each.done() for each in waiting[:4]) >= 1
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
