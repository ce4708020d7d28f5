"""`vecsec policy status`: which policy decides for whom, by the files and by the running service's own word."""

import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_VERSION_CHARACTERS = 12
_SERIES = re.compile(r"(vecsec_policy_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ReplicaMetrics:
    """What a running policy service says of its policies to whoever may read its metrics, the machine's operator; as
    `--json` prints it."""

    policy_version: str
    candidate_version: str
    reload_failing: Sequence[str]
    """What changed and cannot be taken."""
    disagreements: Mapping[str, int]
    """Between candidate and current policy, such as `row lost`; only those that are not 0."""


def read_metrics(url: str) -> ReplicaMetrics | None:
    """Ask a running service; None if it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            text = answer.read().decode()
    except (OSError, ValueError):
        return None
    series = [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SERIES.findall(text)]
    versions = {labels["stage"]: labels["version"] for name, labels, _ in series if name == "vecsec_policy_info"}
    return ReplicaMetrics(
        policy_version=versions.get("current", ""),
        candidate_version=versions.get("candidate", ""),
        reload_failing=sorted(
            labels["part"] for name, labels, value in series if name == "vecsec_policy_reload_failing" and value > 0
        ),
        disagreements={
            f"{labels['kind']} {labels['change']}": int(value)
            for name, labels, value in series
            if name == "vecsec_policy_shadow_disagreements_total" and value > 0
        },
    )


@dataclass(frozen=True, slots=True)
class FilesStatus:
    """What the files say."""

    version: str
    """Of the policy folder; empty if it is broken."""
    complaint: str
    rollout: Rollout | None
    candidate_version: str


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
    files = _read_files(RolloutState.of(state))
    if gateway.json:
        output.print_json(_as_json(files, service, tenants))
    else:
        _print(files, service, tenants)


def _read_files(state: RolloutState) -> FilesStatus:
    rollout = state.read()
    version = complaint = candidate = ""
    try:
        version = load_snapshot(state.policy).version
        candidate = load_snapshot(rollout.candidate).version if rollout is not None else ""
    except ConfigurationError as error:
        complaint = str(error)
    return FilesStatus(version, complaint, rollout, candidate)


def _print(files: FilesStatus, service: ReplicaMetrics | None, tenants: Mapping[str, PolicyStatus]) -> None:
    output.say(_version_line("policy", files.version, None if service is None else service.policy_version))
    if files.rollout is not None:
        taken = None if service is None else service.candidate_version
        output.say(_version_line("candidate", files.candidate_version, taken))
        output.say(f"  decides    {promoted_to(files.rollout)}")
        if files.rollout.shadow_share > 0:
            whose = f" of {', '.join(sorted(files.rollout.shadow_tenants))}" if files.rollout.shadow_tenants else ""
            output.say(f"  in shadow  for {files.rollout.shadow_share:.0%} of the callers{whose}")
    if files.complaint:
        output.say(f"broken       {files.complaint}")
    if service is not None:
        failing = ", ".join(service.reload_failing)
        output.say(f"reload       {f'failing: {failing}; the service goes on with what it has' if failing else 'well'}")
        for name, count in service.disagreements.items():
            output.say(f"{name:<12} {count:,}")
    else:
        output.note("no running service here to ask")
    for tenant, told in tenants.items():
        output.say(_tenant_line(tenant, told))


def _version_line(title: str, version: str, taken: str | None) -> str:
    """A version, and whether the service has taken it, by the one that it has; None if nothing runs here."""
    line = f"{title:<12} {_short(version)}"
    if taken is None or not version:
        return line
    # Not "in force": a candidate that the service has taken may still decide for nobody.
    state = "taken by the service" if taken == version else f"not taken yet: the service has {_short(taken)}"
    return f"{line}  {state}"


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


def _as_json(
    files: FilesStatus, service: ReplicaMetrics | None, tenants: Mapping[str, PolicyStatus]
) -> dict[str, object]:
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
        "service": service,
        "tenants": {tenant: _tenant_fields(told) for tenant, told in tenants.items()},
    }


def _tenant_fields(told: PolicyStatus) -> dict[str, object]:
    fields = {**fields_of(told), **fields_of(told.disagreements)}
    del fields["disagreements"]
    return fields
