"""The three services: health, and metrics."""

import urllib.request
from collections.abc import Iterator, Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.local.run_file import RunFile, RunningProcess, read_run_file, running_at
from vecsec_cli.local.service_channels import open_channel, service_credentials
from vecsec_cli.local.service_settings import reachable_host, services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import NotFound, VecSecError
from vecsec_client.wire.error_details import from_rpc_error

CELLS = "vecsec.retrieval.cells"
"""The health service's name for the cells: NOT_SERVING while one is damaged."""
WRITES = "vecsec.retrieval.writes"
"""Its name for the store's writes: NOT_SERVING while its disk has no room for any or is read-only."""
POLICY_RELOAD = "vecsec.policy.reload"
"""The health service's name for changed policy files: NOT_SERVING while some cannot be taken."""

_WAIT_SECONDS = 3.0
_START = "start the services with `vecsec up`"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def check_services(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """Ask each service, at the addresses of the running `vecsec up` or at those that are set."""
    try:
        credentials = service_credentials(settings)
    except CommandFailure:
        credentials = None  # the certificates' own check tells why
    for name, process in services(state, settings).items():
        yield _health(name, process.address, credentials)
        yield _metrics(name, process.metrics_url)


def services(state: StateDirectory, settings: Mapping[str, str]) -> Mapping[str, RunningProcess]:
    """Where the services should be."""
    run: RunFile | None = read_run_file(state.run_file)
    if run is not None:
        return run.services
    host = reachable_host(settings)
    return {service.name: running_at(service, host) for service in reversed(services_of(settings))}


def _health(name: str, address: str, credentials: grpc.ChannelCredentials | None) -> CheckResult:
    with open_channel(address, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            status = _status(stub, "")
            cells = _status(stub, CELLS) if name == "retrieval" else _SERVING
            writes = _status(stub, WRITES) if name == "retrieval" else _SERVING
            reload = _status(stub, POLICY_RELOAD) if name == "policy" else _SERVING
        except VecSecError as error:
            return fail(name, f"no answer at {address}: {error.code.name}", _START)
    if status != _SERVING:
        return fail(name, f"{address} answers, but does not serve", f"see its log, {name}.log")
    if cells == _NOT_SERVING:
        return fail(name, f"{address} serves, but at least one cell is damaged", "the store's lines here say which")
    if writes == _NOT_SERVING:
        return fail(
            name,
            f"{address} serves, but stores nothing: the disk of its store has no room for writes, or is read-only",
            "free some room, or mount it for writing; no restart is needed",
        )
    if reload == _NOT_SERVING:
        return warn(
            name, f"{address} serves, but changed files are not in force", f"what is wrong stands in {name}.log"
        )
    return ok(name, f"{address} serves")


def _status(stub: health_pb2_grpc.HealthStub, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        return int(stub.Check(request, timeout=_WAIT_SECONDS).status)
    except grpc.RpcError as error:
        failure = from_rpc_error(error, request_id="")
        if isinstance(failure, NotFound) and service:
            return int(_SERVING)  # a service that does not tell of this part
        raise failure from error


def _metrics(name: str, url: str) -> CheckResult:
    check = f"{name} metrics"
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            lines = sum(line.startswith(b"vecsec_") for line in answer)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return fail(check, f"{url}: {reason}", f"{_START}; or is another program on this port?")
    return ok(check, f"{url}: {lines} series of ours")
