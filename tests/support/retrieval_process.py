"""The retrieval service as a process of its own, under the limits that a test sets."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from support.installation import free_ports
from support.new_store import ANY_TIME
from support.retrieval_alone import Service, Signer
from support.waiting import PATIENCE_SECONDS, until
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc


def with_open_files(limit: int) -> list[str]:
    """The command that lets the next one have so many files open."""
    return ["sh", "-c", 'ulimit -n "$1" && shift && exec "$@"', "sh", str(limit)]


@dataclass
class RetrievalProcess:
    """A process that serves, or has ended by itself."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    ports: tuple[int, int]
    signer: Signer
    _channel: grpc.aio.Channel | None = field(default=None)

    @property
    def service(self) -> Service:
        """What callers need."""
        port, metrics_port = self.ports
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        stub = retrieval_service_pb2_grpc.RetrievalServiceStub(self._channel)
        return Service(stub, self._channel, self.signer, self.folder / "chroma", metrics_port)

    def log(self) -> list[dict[str, object]]:
        """Its log and what it wrote to standard error: each line is an object of JSON, or this fails."""
        lines = [*(self.folder / "out").read_text().splitlines(), *(self.folder / "err").read_text().splitlines()]
        entries = [json.loads(line) for line in lines]
        assert all(isinstance(entry, dict) and entry["service"] == "retrieval" for entry in entries), lines
        return entries

    def told(self) -> str:
        """All that it said, for people."""
        return (self.folder / "out").read_text()[-4_000:] + (self.folder / "err").read_text()[-4_000:]

    async def serves(self) -> bool:
        assert self.process.poll() is None, self.told()
        try:
            return await self.service.is_serving()
        except grpc.aio.AioRpcError:
            return False

    async def ended(self) -> int:
        """The status with which it ends."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)

    async def aclose(self) -> None:
        self.process.kill()
        await self.ended()
        if self._channel is not None:
            await self._channel.close()


@asynccontextmanager
async def started_process(
    folder: Path, signer: Signer, *, under: Sequence[str] = (), **settings: object
) -> AsyncIterator[RetrievalProcess]:
    """Start it by the command `under`, which limits itself and then becomes the service."""
    port, metrics_port = free_ports(2)
    told = {
        "VECSEC_RETRIEVAL_PORT": port,
        "VECSEC_RETRIEVAL_METRICS_PORT": metrics_port,
        "VECSEC_GRANT_JWKS": signer.jwks,
        "CHROMA_PATH": folder / "chroma",
        "VECSEC_NEW_STORE_UNTIL": ANY_TIME.isoformat(),
        "PYTHONPATH": os.pathsep.join(sys.path),
        **settings,
    }
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [*under, sys.executable, "-P", "-m", "vecsec_retrieval"],
            env={**os.environ, **{name: str(value) for name, value in told.items()}},
            cwd=folder,
            stdout=out,
            stderr=err,
        )
    started = RetrievalProcess(process, folder, (port, metrics_port), signer)
    try:
        yield started
    finally:
        await started.aclose()


@asynccontextmanager
async def serving_process(
    folder: Path, signer: Signer, *, under: Sequence[str] = (), **settings: object
) -> AsyncIterator[RetrievalProcess]:
    """Start it, and wait until it serves."""
    async with started_process(folder, signer, under=under, **settings) as started:
        await until(started.serves, started.told)
        yield started
