"""Waits for the messages of a stream, but not for ever: a stream that says nothing holds a place that others need."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from vecsec_chassis.errors import DeadlineExceeded

FIRST_MESSAGE_SECONDS = 10.0
NEXT_MESSAGE_SECONDS = 60.0

Message = TypeVar("Message")


async def patiently(messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The messages as they come; the time that whoever takes them needs for one does not count.

    Raises:
        DeadlineExceeded: if the first does not come within 10 seconds, or another within 60.
    """
    seconds = FIRST_MESSAGE_SECONDS
    while True:
        try:
            # Not `wait_for`, which in Python 3.11 can swallow a cancellation.
            async with asyncio.timeout(seconds):
                message = await anext(messages)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise DeadlineExceeded(f"no message came within {seconds:g} s; begin a new stream") from error
        yield message
        seconds = NEXT_MESSAGE_SECONDS
