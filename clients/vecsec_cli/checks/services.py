"""The three services: health, and metrics."""

import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.checks.metrics import told_by_metrics
from vecsec_cli.local.run_file import RunFile, RunningProcess, read_run_file, running_at
from vecsec_cli.local.service_channels import open_channel, service_credentials
from vecsec_cli.local.service_settings import reachable_host, services_of
from vecsec_cli.local.shards import shard_count, with_shards
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import NotFound, VecSecError
from vecsec_client.wire.error_details import from_rpc_error

CELLS = "vecsec.retrieval.cells"
"""The health service's name for the cells: NOT_SERVING while one is damaged."""
WRITES = "vecsec.retrieval.writes"
"""Its name for the store's writes: NOT_SERVING while its disk has no room for any or is read-only."""
AUDIT = "vecsec.policy.audit"
"""Its name for the audit log of the policy service: NOT_SERVING while it cannot be written."""
POLICY_RELOAD = "vecsec.policy.reload"
"""The health service's name for changed policy files: NOT_SERVING while some cannot be taken."""
ISSUERS = "vecsec.issuers"
"""The name for issuers: NOT_SERVING while a changed file of theirs cannot be taken, or keys of one cannot be had."""

_WAIT_SECONDS = 3.0
_START = "start the services with `vecsec up`"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a service that has a health entry of its own."""

    services: Collection[str]
    result: Callable[[str, str, str], CheckResult]
    problem: str
    remedy: str


_PARTS = {
    CELLS: _Part({"retrieval"}, fail, "at least one cell is damaged", "the store's lines here say which"),
    WRITES: _Part(
        {"retrieval"},
        fail,
        "stores nothing: the disk of its store has no room for writes, or is read-only",
        "free some room, or mount it for writing; no restart is needed",
    ),
    AUDIT: _Part(
        {"policy"},
        fail,
        "its decisions are not recorded: the audit log cannot be written",
        "free some room on the disk of VECSEC_AUDIT_FILE, or mount it for writing; no restart is needed",
    ),
    POLICY_RELOAD: _Part({"policy"}, warn, "changed files are not in force", "what is wrong stands in {log}"),
    ISSUERS: _Part(
        {"gateway", "policy"},
        warn,
        "keys of an issuer cannot be had, or its changed issuers file is not in force",
        "`vecsec issuers check` says what is wrong, as does {log}",
    ),
}


def check_services(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """Ask each service, at the addresses of the running `vecsec up` or at those that are set."""
    try:
        credentials = service_credentials(settings)
    except CommandFailure:
        credentials = None  # the certificates' own check tells why
    for name, process in services(state, settings).items():
        yield check_health(name, process.address, credentials)
        yield from _metrics(name, process.metrics_url)


def services(state: StateDirectory, settings: Mapping[str, str]) -> Mapping[str, RunningProcess]:
    """Where the services should be."""
    run: RunFile | None = read_run_file(state.run_file)
    if run is not None:
        return run.services
    host = reachable_host(settings)
    known = with_shards(services_of(settings), shard_count(state, settings, None), state, settings)
    return {service.name: running_at(service, host) for service in reversed(known)}


def check_health(name: str, address: str, credentials: grpc.ChannelCredentials | None) -> CheckResult:
    """Whether a service answers and serves, and which of its parts does not."""
    kind = name.partition("-")[0]  # `retrieval-1` is a further shard
    with open_channel(address, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            status = _status(stub, "")
            parts = {entry: _status(stub, entry) for entry in _PARTS if kind in _PARTS[entry].services}
        except VecSecError as error:
            return fail(name, f"no answer at {address}: {error.code.name}", _START)
    if status != _SERVING:
        return fail(name, f"{address} answers, but does not serve", f"see its log, {name}.log")
    for entry, part in _PARTS.items():
        if parts.get(entry) == _NOT_SERVING:
            return part.result(name, f"{address} serves, but {part.problem}", part.remedy.format(log=f"{name}.log"))
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


def _metrics(name: str, url: str) -> Iterator[CheckResult]:
    check = f"{name} metrics"
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            lines = [line.decode(errors="replace") for line in answer if line.startswith(b"vecsec_")]
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield fail(check, f"{url}: {reason}", f"{_START}; or is another program on this port?")
        return
    yield ok(check, f"{url}: {len(lines)} series of ours")
    yield from told_by_metrics(lines)
