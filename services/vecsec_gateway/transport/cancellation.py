"""Keeps a cancellation that gRPC would lose."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raise CancelledError at the end of the block if this task was cancelled in it, however the block ended.

    gRPC swallows a cancellation that comes in the moment in which the call fails by itself, and raises the call's own
    error instead (grpc/aio/_call.py, `_prepare_rpc`); a loop that goes on after errors would then never end. The SDK
    has the same (`vecsec_client.cancellation`), for services and clients share nothing but the stubs.
    """
    task = asyncio.current_task()
    assert task is not None, "used in coroutines"
    cancellations = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > cancellations:
            raise asyncio.CancelledError
