"""The service processes of `vecsec up`: started together, watched, stopped in order, never left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec_cli.local.run_file import RunningProcess, running_at
from vecsec_cli.local.service_channels import service_credentials
from vecsec_cli.local.service_settings import Service
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.output import note

_LOCAL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_START_SECONDS = 60.0
_RETRY_SECONDS = 0.2
_STOP_MARGIN_SECONDS = 5.0
"""How much longer than its own grace time a service may take to stop before it is killed."""
_SHOWN_LOG_LINES = 10
_CANNOT_START = 78
"""The status by which a service says that a setting is wrong; a line names it."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One running service."""

    service: Service
    process: asyncio.subprocess.Process
    running: RunningProcess
    """Where it answers."""
    log_file: Path
    credentials: grpc.ChannelCredentials | None
    """How to ask it; None without TLS."""

    def __str__(self) -> str:
        return f"{self.service.name:<11} serves on {self.running.address}, metrics {self.running.metrics_url}"

    async def died(self) -> None:
        """Wait for the process to end.

        Raises:
            CommandFailure: when it does, with its last log lines.
        """
        status = await self.process.wait()
        cause = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        lines = _last_lines(self.log_file, _SHOWN_LOG_LINES)
        reasons = [line for line in lines if line.startswith(f"vecsec {self.service.kind}: ")]
        if status == _CANNOT_START and reasons:
            raise CommandFailure(f"cannot start: {reasons[-1]}", exit_code=ExitCode.INVALID)
        self._show(lines)
        raise self._failure(cause)

    async def serving(self) -> None:
        """Wait until the service's health says SERVING.

        Raises:
            CommandFailure: if it does not in a minute.
        """
        try:
            async with asyncio.timeout(_START_SECONDS), self._channel() as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                await _health_says_serving(stub)
        except TimeoutError as error:
            self._show(_last_lines(self.log_file, _SHOWN_LOG_LINES))
            raise self._failure(f"is not ready after {_START_SECONDS:.0f} s") from error

    def _failure(self, what: str) -> CommandFailure:
        message, hint = f"the {self.service.name} service {what}", f"its log is {self.log_file}"
        return CommandFailure(message, hint=hint, exit_code=ExitCode.UNAVAILABLE)

    def _show(self, log_lines: Sequence[str]) -> None:
        for line in log_lines:
            note(f"  {self.service.name} | {line}")

    def _channel(self) -> grpc.aio.Channel:
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.running.address, _LOCAL)
        return grpc.aio.secure_channel(self.running.address, self.credentials, _LOCAL)

    async def stop(self, grace_seconds: float) -> None:
        """Let it drain, and kill it if it does not end."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), grace_seconds + _STOP_MARGIN_SECONDS)
        except TimeoutError:
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        """End it now, with everything that it may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


async def _health_says_serving(stub: health_pb2_grpc.HealthStub) -> None:
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):  # the process ended: whoever watches it says so
            async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def running_processes(
    services: Sequence[Service], environment: Mapping[str, str], host: str, logs: Path, grace_seconds: float
) -> AsyncIterator[Sequence[ServiceProcess]]:
    """Start the services; at the end stop the last one first, so that none loses a peer that it still needs."""
    credentials = service_credentials(environment)
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for service in services:
            process = await _start(service, environment, host, logs, credentials)
            stack.push_async_callback(process.stop, grace_seconds)
            running.append(process)
        yield running


async def _start(
    service: Service, environment: Mapping[str, str], host: str, logs: Path, credentials: grpc.ChannelCredentials | None
) -> ServiceProcess:
    log_file = logs / f"{service.name}.log"
    if log_file.exists():
        log_file.replace(log_file.with_suffix(".log.1"))
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "vecsec_cli.local.child_process", str(os.getpid()), service.module),
            env={**environment, **service.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches `vecsec up` alone, which stops the services in order
        )
    return ServiceProcess(service, process, running_at(service, host, process.pid), log_file, credentials)


async def until_all_serve(running: Sequence[ServiceProcess], report: Callable[[ServiceProcess], None]) -> None:
    """Wait until all services serve; `report` hears of each as it does.

    Raises:
        CommandFailure: if one does not in time.
    """

    async def wait(process: ServiceProcess) -> None:
        await process.serving()
        report(process)

    await asyncio.gather(*(wait(process) for process in running))


def _last_lines(path: Path, count: int) -> list[str]:
    with path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - (16 << 10)))
        lines = log.read().decode("utf-8", "replace").splitlines()
    return lines[-count:]
