"""An open loop far beyond capacity, at little cost to itself: `python -m bench.flood JOB RESULT`.

gRPC's own client takes as much processor time a call as the gateway does, and would be the first to give in. This one
sends frames that were made beforehand, and looks at no more of an answer than whether there is one, and whether it is
made up.
"""

import asyncio
import pickle
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from bench.raw_calls import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST,
    SETTINGS,
    WINDOW,
    frame,
    framed,
    header_block,
)
from bench.wire_calls import GrpcCall

_CONNECTIONS = 8
_STREAMS = 64
"""At once on a connection, which is what the gateway takes. Further calls wait here, as with any client."""
_REFUSED_STREAM = 7
_MADE_UP = b"Synthetic passage"
_TICK_SECONDS = 0.002
_TIMEOUT_SECONDS = 10.0
_WINDOW_BYTES = 1 << 30


@dataclass(frozen=True)
class Flood:
    """What to send."""

    calls: Sequence[GrpcCall]
    port: int
    rate: float
    seconds: float


@dataclass
class Flooded:
    """What came of it."""

    sent: int = 0
    answered: list[float] = field(default_factory=list)
    """When, by the monotonic clock, of each that was answered with rows."""
    made_up: int = 0
    refused: int = 0
    """Ended with a status and nothing else."""
    reset: int = 0
    """Ended without a status."""
    unanswered: int = 0
    started: float = 0.0
    """By the monotonic clock, which all processes share."""


@contextmanager
def flooding(flood: Flood) -> Iterator["subprocess.Popen[bytes]"]:
    """A flood in a process of its own, which ends by itself."""
    with tempfile.TemporaryDirectory(prefix="vecsec-flood-") as name:
        job, result = Path(name, "job"), Path(name, "result")
        job.write_bytes(pickle.dumps(flood))
        with subprocess.Popen([sys.executable, "-m", "bench.flood", str(job), str(result)]) as process:
            process.result = result  # type: ignore[attr-defined]
            yield process


def result_of(process: "subprocess.Popen[bytes]") -> Flooded:
    """What came of a flood, once it has ended."""
    if process.wait():
        raise RuntimeError("the flood could not be sent")
    return Flooded(**pickle.loads(process.result.read_bytes()))  # type: ignore[attr-defined]


class _Connection(asyncio.Protocol):
    def __init__(self, seen: Flooded) -> None:
        self._seen = seen
        self._unread = b""
        self._next_stream = 1
        self.turned_back = 0
        """Calls that the server has not looked at, which gRPC's clients send again."""
        self._open: dict[int, bool | None] = {}
        """By stream: whether its answer is made up; None while none came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        window = b"\0\x04" + _WINDOW_BYTES.to_bytes(4, "big")
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, window))
        self._transport.write(frame(WINDOW, 0, 0, _WINDOW_BYTES.to_bytes(4, "big")))

    @property
    def has_room(self) -> bool:
        return len(self._open) < _STREAMS

    @property
    def open_count(self) -> int:
        return len(self._open)

    def send(self, block: bytes, body: bytes) -> None:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._open[stream] = None
        self._transport.write(frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body))

    def data_received(self, data: bytes) -> None:
        unread, place = self._unread + data, 0
        while len(unread) - place >= 9:
            length = int.from_bytes(unread[place : place + 3], "big")
            if len(unread) - place < 9 + length:
                break
            kind, flags = unread[place + 3], unread[place + 4]
            stream = int.from_bytes(unread[place + 5 : place + 9], "big")
            self._take(kind, flags, stream, unread[place + 9 : place + 9 + length])
            place += 9 + length
        self._unread = unread[place:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in {SETTINGS, PING} and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif stream not in self._open:
            return
        elif kind == DATA and payload:
            self._open[stream] = bool(self._open[stream]) or _MADE_UP in payload
            self._transport.write(frame(WINDOW, 0, 0, len(payload).to_bytes(4, "big")))
        if stream in self._open and kind == RST:
            del self._open[stream]
            if int.from_bytes(payload, "big") == _REFUSED_STREAM:
                self.turned_back += 1
            else:
                self._seen.reset += 1
        elif stream in self._open and flags & END_STREAM and kind in {HEADERS, DATA}:
            self._count(self._open.pop(stream))

    def _count(self, made_up: bool | None) -> None:
        if made_up is None:
            self._seen.refused += 1
        elif made_up:
            self._seen.made_up += 1
        else:
            self._seen.answered.append(time.monotonic())


async def _send(flood: Flood) -> Flooded:
    seen = Flooded()
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(seen), "127.0.0.1", flood.port))[1]
        for _ in range(_CONNECTIONS)
    ]
    ready = [
        (header_block(call.method, {**call.metadata, "grpc-timeout": "10S"}), framed(call.request))
        for call in flood.calls
    ]
    waiting: deque[int] = deque()
    seen.started = start = time.monotonic()
    while (passed := time.monotonic() - start) < flood.seconds or (
        (waiting or any(each.open_count for each in connections)) and passed < flood.seconds + _TIMEOUT_SECONDS
    ):
        while seen.sent < min(passed, flood.seconds) * flood.rate:
            waiting.append(seen.sent)
            seen.sent += 1
        for connection in connections:
            waiting.extend(range(connection.turned_back))
            connection.turned_back = 0
            while waiting and connection.has_room and passed < flood.seconds:
                connection.send(*ready[waiting.popleft() % len(ready)])
        if passed >= flood.seconds:
            seen.unanswered += len(waiting)
            waiting.clear()
        await asyncio.sleep(_TICK_SECONDS)
    seen.unanswered += sum(each.open_count for each in connections)
    return seen


if __name__ == "__main__":
    done = uvloop.run(_send(pickle.loads(Path(sys.argv[1]).read_bytes())))
    Path(sys.argv[2]).write_bytes(pickle.dumps(asdict(done)))
