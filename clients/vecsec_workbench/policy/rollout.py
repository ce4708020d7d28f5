"""`vecsec policy shadow`, `promote`, `rollback`: bring a candidate policy into force step by step, and take it back."""

from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.in_force.rollout import Rollout
from vecsec_workbench.policy.rollout_state import RolloutState, promoted_to

_SEE = "`vecsec policy status` shows when the running service has taken it, within seconds"
_VERSION_CHARACTERS = 12

TenantsOption = Annotated[list[str] | None, typer.Option("--tenant", help="A tenant; may be repeated.")]


def shadow(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The candidate policy.", exists=True, file_okay=False)],
    *,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Which share of the callers, 0 to 1.")] = 1.0,
    tenant: TenantsOption = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Let a candidate policy decide beside the current one, without effect, and count where they differ.

    A copy of DIR is taken; run this again for what you change in it. Differences are counted in
    vecsec_policy_shadow_disagreements_total and sampled into the audit log.
    """
    tenants = frozenset(tenant or ())
    wanted = Rollout(candidate=folder, shadow_share=share, shadow_tenants=tenants)
    rollout = RolloutState.of(state_directory(state_dir)).begin(folder, wanted)
    who = f"{share:.0%} of the callers" + (f" of {', '.join(sorted(tenants))}" if tenants else "")
    _report(rollout, f"decides in the shadow for {who}, and {promoted_to(rollout)} in earnest", json=json)


def promote(
    *,
    tenant: TenantsOption = None,
    to_all: Annotated[bool, typer.Option("--all", help="For all tenants; it becomes the policy.")] = False,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Let the candidate decide: for some tenants, and finally for all."""
    if to_all == bool(tenant):
        raise CommandFailure("say for whom: --tenant TENANT, which may be repeated, or --all")
    state = RolloutState.of(state_directory(state_dir))
    if tenant:
        rollout = state.promote(frozenset(tenant))
        _report(rollout, f"decides {promoted_to(rollout)}", json=json)
        return
    version = state.adopt()
    if json:
        output.print_json({"policy_version": version, "previous": str(state.previous)})
        return
    output.say(f"{version[:_VERSION_CHARACTERS]} is the policy now, for all tenants")
    output.note(f"the one before is kept in {state.previous}; `vecsec policy rollback` brings it back. {_SEE}")


def rollback(*, state_dir: StateDirectoryOption = None, json: JsonOption = False) -> None:
    """End the rollout, so that the current policy decides for everybody again; after a `promote --all`, bring the
    policy before back."""
    version = RolloutState.of(state_directory(state_dir)).roll_back()
    if json:
        output.print_json({"policy_version": version})
        return
    output.say(f"{version[:_VERSION_CHARACTERS]} decides for all tenants again")
    output.note(_SEE)


def _report(rollout: Rollout, what: str, *, json: bool) -> None:
    version = rollout.candidate.name
    if json:
        output.print_json(
            {
                "candidate_version": version,
                "shadow_share": rollout.shadow_share,
                "shadow_tenants": sorted(rollout.shadow_tenants),
                "promoted_tenants": sorted(rollout.promoted_tenants),
            }
        )
        return
    output.say(f"candidate {version[:_VERSION_CHARACTERS]} {what}")
    output.note(_SEE)
