"""Calls either SDK client in the same words, so that every test holds for both."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from vecsec_client import AsyncVecSecClient, ImportProgress, RetryPolicy, VecSecClient

QUICK = RetryPolicy(attempts=4, initial_wait_seconds=0.001, longest_wait_seconds=0.01)
"""Retries that cost a test no time."""


class Caller:
    """Calls either client in the same words, so that every test holds for both."""

    def __init__(self, client: VecSecClient | AsyncVecSecClient) -> None:
        self.client = client

    async def call(self, method: str, *arguments: object, **keywords: object) -> Any:
        function = getattr(self.client, method)
        if isinstance(self.client, AsyncVecSecClient):
            return await function(*arguments, **keywords)
        return await asyncio.to_thread(function, *arguments, **keywords)  # the services may live in this event loop

    async def store(self, documents: Iterable[Any], **keywords: Any) -> list[ImportProgress]:
        """The whole progress of an import."""
        if isinstance(self.client, AsyncVecSecClient):
            return [progress async for progress in self.client.stream_import(documents, **keywords)]
        return await asyncio.to_thread(lambda: list(self.client.stream_import(documents, **keywords)))


MakeCaller = Callable[..., Caller]
