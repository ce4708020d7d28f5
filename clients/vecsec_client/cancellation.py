"""Keeps what gRPC loses: the cancellation of a task in the moment in which its stream fails."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raise CancelledError at the end of the block if this task was cancelled in it, however the block ended.

    Where both come in one moment, grpc.aio raises the stream's own error alone (1.85, `_prepare_rpc`). Who tries again
    after errors would go on with what was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None, "used in coroutines"
    cancellations = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > cancellations:
            raise asyncio.CancelledError
