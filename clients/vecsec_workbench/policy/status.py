"""`vecsec policy status`: which policy decides for whom, by the files and by the running service's own word."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.gateway_session import GatewayOptions, open_session, with_gateway_options
from vecsec_cli.local.run_file import read_run_file
from vecsec_cli.options import state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_client import PolicyStatus
from vecsec_policy.in_force.rollout import Rollout
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_workbench.policy.rollout_state import RolloutState, promoted_to

_WAIT_SECONDS = 3.0
_SERIES = re.compile(r"(vecsec_policy_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ReplicaMetrics:
    """What a running policy service says of its policies to whoever may read its metrics: the machine's operator."""

    versions: Mapping[str, str]
    """By stage: current, candidate."""
    failing_parts: Sequence[str]
    """What changed and cannot be taken."""
    disagreements: Mapping[str, int]
    """Between candidate and current policy, such as `row lost`; only those that are not 0."""


def read_metrics(url: str) -> ReplicaMetrics | None:
    """Ask a running service; None if it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            text = answer.read().decode()
    except (urllib.error.URLError, OSError, ValueError):
        return None
    series = list(_series(text))
    return ReplicaMetrics(
        versions={labels["stage"]: labels["version"] for name, labels, _ in series if name == "vecsec_policy_info"},
        failing_parts=sorted(
            labels["part"] for name, labels, value in series if name == "vecsec_policy_reload_failing" and value > 0
        ),
        disagreements={
            f"{labels['kind']} {labels['change']}": int(value)
            for name, labels, value in series
            if name == "vecsec_policy_shadow_disagreements_total" and value > 0
        },
    )


def _series(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for name, labels, value in _SERIES.findall(text):
        yield name, dict(_LABEL.findall(labels)), float(value)


_VERSION_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class FilesStatus:
    """What the files say."""

    version: str
    """Of the policy folder; empty if it is broken."""
    complaint: str
    rollout: Rollout | None
    candidate_version: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Everything that could be learnt."""

    files: FilesStatus
    service: ReplicaMetrics | None
    """None if nothing runs here."""
    tenants: Mapping[str, PolicyStatus] = field(default_factory=dict)


@with_gateway_options
def status(
    gateway: GatewayOptions,
    *,
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="Ask the service about this tenant, too; may be repeated.")
    ] = None,
) -> None:
    """Show which policy versions decide for whom, whether changed files are in force, and what a candidate in the
    shadow would have decided otherwise."""
    state = state_directory(gateway.state_dir)
    run = read_run_file(state.run_file)
    tenants: dict[str, PolicyStatus] = {}
    if tenant:
        with open_session(gateway).client as client:
            tenants = {each: client.policy_status(tenant=each) for each in tenant}
    service = read_metrics(run.services["policy"].metrics_url) if run is not None and "policy" in run.services else None
    report = StatusReport(_read_files(RolloutState.of(state)), service, tenants)
    if gateway.json:
        output.print_json(_as_json(report))
    else:
        _print(report)


def _read_files(state: RolloutState) -> FilesStatus:
    rollout = state.read()
    version = complaint = candidate = ""
    try:
        version = load_snapshot(state.policy).version
        candidate = load_snapshot(rollout.candidate).version if rollout is not None else ""
    except ConfigurationError as error:
        complaint = str(error)
    return FilesStatus(version, complaint, rollout, candidate)


def _print(report: StatusReport) -> None:
    files, service = report.files, report.service
    output.say(f"policy       {_short(files.version)}{_taken_by_service(files.version, service, 'current')}")
    if files.rollout is not None:
        candidate = files.candidate_version
        output.say(f"candidate    {_short(candidate)}{_taken_by_service(candidate, service, 'candidate')}")
        output.say(f"  decides    {promoted_to(files.rollout)}")
        if files.rollout.shadow_share > 0:
            tenants = f" of {', '.join(sorted(files.rollout.shadow_tenants))}" if files.rollout.shadow_tenants else ""
            output.say(f"  in shadow  for {files.rollout.shadow_share:.0%} of the callers{tenants}")
    if files.complaint:
        output.say(f"broken       {files.complaint}")
    if service is not None:
        failing = ", ".join(service.failing_parts)
        output.say(f"reload       {f'failing: {failing}; the service goes on with what it has' if failing else 'well'}")
        for name, count in service.disagreements.items():
            output.say(f"{name:<12} {count:,}")
    else:
        output.note("no running service here to ask")
    for tenant, told in report.tenants.items():
        output.say(_tenant_line(tenant, told))


def _taken_by_service(version: str, service: ReplicaMetrics | None, stage: str) -> str:
    if service is None or not version:
        return ""
    taken = service.versions.get(stage, "")
    # Not "in force": a candidate that the service has taken may still decide for nobody.
    return "  taken by the service" if taken == version else f"  not taken yet: the service has {_short(taken)}"


def _tenant_line(tenant: str, told: PolicyStatus) -> str:
    lost, gained = told.disagreements.rows_lost, told.disagreements.rows_gained
    parts = [f"{tenant}: decided by {_short(told.policy_version)} since {told.loaded:%Y-%m-%d %H:%M:%S} UTC"]
    if told.is_promoted:
        parts.append("the candidate, promoted")
    if told.shadow_share > 0:
        parts.append(f"{told.shadow_share:.0%} in the shadow, rows lost {lost:,}, gained {gained:,}")
    if told.is_reload_failing:
        parts.append("changed files are not in force")
    return "; ".join(parts)


def _short(version: str) -> str:
    return version[:_VERSION_CHARACTERS] or "none"


def _as_json(report: StatusReport) -> dict[str, object]:
    files, service = report.files, report.service
    rollout = files.rollout
    return {
        "files": {
            "policy_version": files.version,
            "candidate_version": files.candidate_version,
            "promoted_tenants": sorted(rollout.promoted_tenants) if rollout is not None else [],
            "shadow_share": rollout.shadow_share if rollout is not None else 0.0,
            "shadow_tenants": sorted(rollout.shadow_tenants) if rollout is not None else [],
            "complaint": files.complaint,
        },
        "service": None
        if service is None
        else {
            "policy_version": service.versions.get("current", ""),
            "candidate_version": service.versions.get("candidate", ""),
            "reload_failing": list(service.failing_parts),
            "disagreements": dict(service.disagreements),
        },
        "tenants": {tenant: _tenant_fields(told) for tenant, told in report.tenants.items()},
    }


def _tenant_fields(told: PolicyStatus) -> dict[str, object]:
    fields = {**fields_of(told), **fields_of(told.disagreements)}
    del fields["disagreements"]
    return fields
