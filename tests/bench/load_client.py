"""Sends prepared searches and says how each went: `python -m bench.load_client JOB RESULT`, see `load_job`."""

import asyncio
import itertools
import pickle
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import httpx
import orjson
import uvloop

from bench.load_job import Job, Load
from bench.processes import cpu_seconds
from bench.samples import Sample, due_times
from bench.wire_calls import GrpcCall, HttpCall
from vecsec.gateway.v1.gateway_service_pb2 import SearchDocumentsResponse

Send = Callable[[], Awaitable[bool]]
"""Sends the next request; whether its answer was what it has to be."""
_TIMEOUT_SECONDS = 30.0


async def closed_loop(send: Send, seconds: float) -> list[Sample]:
    """One caller, who sends the next request when the last one is answered."""
    samples = []
    end = time.perf_counter() + seconds
    while (due := time.perf_counter()) < end:
        is_ok = await send()
        samples.append(Sample(due, time.perf_counter(), is_ok))
    return samples


async def open_loop(send: Send, due: Iterable[float]) -> list[Sample]:
    """Requests at the times that are due, in seconds from now, whether or not earlier ones are answered."""
    start = time.perf_counter()

    async def ask(moment: float) -> Sample:
        is_ok = await send()
        return Sample(moment, time.perf_counter(), is_ok)

    async with asyncio.TaskGroup() as group:
        tasks = []
        for offset in due:
            moment = start + offset
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            tasks.append(group.create_task(ask(moment)))
    return [task.result() for task in tasks]


async def _do(job: Job) -> Load:
    async with AsyncExitStack() as stack:
        send = await _sender(job, stack)
        await asyncio.gather(*(send() for _ in range(job.callers or 1)))  # connections belong to nobody's latency
        before = cpu_seconds({"self": "self"})["self"]
        if job.callers is None:
            callers = [await open_loop(send, due_times(job.rate, job.seconds))]
        else:
            callers = await asyncio.gather(*(closed_loop(send, job.seconds) for _ in range(job.callers)))
        return Load(callers, cpu_seconds({"self": "self"})["self"] - before)


async def _sender(job: Job, stack: AsyncExitStack) -> Send:
    calls = itertools.cycle(job.calls)
    if isinstance(job.calls[0], HttpCall):
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=_TIMEOUT_SECONDS))
        return lambda: _post(client, next(calls), job.rows)
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(job.calls[0].address))
    method = channel.unary_unary(job.calls[0].method)
    return lambda: _call(method, next(calls), job.rows)


async def _call(method: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]", call: GrpcCall, rows: int) -> bool:
    try:
        answer = await method(call.request, metadata=tuple(call.metadata.items()), timeout=_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError:
        return False
    return len(SearchDocumentsResponse.FromString(answer).results) == rows


async def _post(client: httpx.AsyncClient, call: HttpCall, rows: int) -> bool:
    try:
        answer = await client.post(call.uri, content=call.body, headers=dict(call.headers))
    except httpx.HTTPError:
        return False
    return answer.is_success and len(orjson.loads(answer.content)["ids"][0]) == rows


if __name__ == "__main__":
    done = uvloop.run(_do(pickle.loads(Path(sys.argv[1]).read_bytes())))
    Path(sys.argv[2]).write_bytes(pickle.dumps(done))
