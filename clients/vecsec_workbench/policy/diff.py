"""`vecsec policy diff`: what changes for whom if one policy takes another's place."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewayOptions, open_session, with_gateway_options
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_workbench.audit.records import AuditLogOption, Unreadable, recorded_decisions
from vecsec_workbench.policy.comparison import AccessDifference, CallerGroup, compare, compare_recorded
from vecsec_workbench.policy.decision_space import SOMEBODY
from vecsec_workbench.policy.decisions import label_in_words
from vecsec_workbench.policy.folder import load
from vecsec_workbench.policy.labels import ExistingLabel, read_from_file, read_from_gateway


class FailOn(StrEnum):
    """What ends `vecsec policy diff` with exit code 1."""

    NOTHING = "nothing"
    GAIN = "gain"
    LOSS = "loss"
    ANY = "any"


@with_gateway_options
def diff(
    gateway: GatewayOptions,
    *,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policy folder that is in force.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policy folder that would take its place.")],
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="Read this tenant's labels through the gateway; repeatable.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Read labels that `vecsec policy labels --json` saved; repeatable.")
    ] = None,
    audit_log: AuditLogOption = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Callers with this subject, for rules that name or compare it; repeatable.")
    ] = None,
    fail_on: Annotated[FailOn, typer.Option(help="What ends with exit code 1.")] = FailOn.NOTHING,
) -> None:
    """Say what changes for whom: for every role, clearance, tenant and action, over the labels that documents really
    bear (--tenant or --labels) and over recorded decisions (--audit-log).
    """
    if not tenant and not labels and not audit_log:
        raise CommandFailure("say over which labels or decisions: --tenant, --labels or --audit-log")
    policies = load(old), load(new)
    existing = _existing(gateway, tenant or [], labels or [])
    by_label = compare(*policies, existing, subject or [SOMEBODY])
    recorded = list(recorded_decisions(audit_log or []))
    decisions = [each for each in recorded if isinstance(each, RecordedDecision)]
    by_record = compare_recorded(*policies, decisions)
    documents = sum(each.document_count for each in existing)
    skipped = [each for each in recorded if isinstance(each, Unreadable)]
    if gateway.json:
        output.print_json(
            {
                "old_policy_version": policies[0].version,
                "new_policy_version": policies[1].version,
                "documents": documents,
                "by_label": [_shape(group, each) for group, each in by_label.items()],
                "recorded_decisions": len(decisions),
                "not_replayed": skipped,
                "by_recorded_decision": [_shape(group, each) for group, each in by_record.items()],
            }
        )
    else:
        if existing:
            _print(f"{documents:,} documents with {len(existing):,} labels", by_label)
        if audit_log:
            _print(f"{len(decisions):,} recorded decisions", by_record)
        for line in skipped:
            output.note(f"{line.place}: not replayed: {line.reason}")
    if _fails(fail_on, [*by_label.values(), *by_record.values()]):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _existing(gateway: GatewayOptions, tenants: list[str], files: list[Path]) -> list[ExistingLabel]:
    existing = [each for file in files for each in read_from_file(file)]
    if tenants:
        with open_session(gateway).client as client:
            existing += read_from_gateway(client, tenants)
    return existing


def _fails(fail_on: FailOn, differences: list[AccessDifference]) -> bool:
    gained, lost = any(each.widens for each in differences), any(each.narrows for each in differences)
    return (gained and fail_on in {FailOn.GAIN, FailOn.ANY}) or (lost and fail_on in {FailOn.LOSS, FailOn.ANY})


def _print(over: str, found: Mapping[CallerGroup, AccessDifference]) -> None:
    if not found:
        output.say(plain("nothing changes for anybody", "bold green") + plain(f", over {over}"))
        return
    output.say(plain(f"over {over}", "bold"))
    rows = [
        (
            f"{group.role}s of {group.caller_tenant_id}",
            group.action.value,
            group.tenant_id,
            plain(f"{each.gained_rows:,}", "bold red" if each.gained else ""),
            plain(f"{each.lost_rows:,}", "bold yellow" if each.lost else ""),
            _entering(each),
        )
        for group, each in found.items()
    ]
    numbers = output.right("gain rows"), output.right("lose rows")
    output.print_table("who", "wants to", "in", *numbers, "may enter", rows=rows)
    for group, each in found.items():
        for kind, example in each.examples.items():
            row = f"for example a row labelled {label_in_words(example.label)}, at {example.clearance.name}"
            rules = f"{example.before} → {example.after}"
            who = f"{group.role}s of {group.caller_tenant_id}, {group.action} in {group.tenant_id}"
            output.say(plain(f"{kind}: {who}: {row}: {rules}", "dim"))


def _entering(difference: AccessDifference) -> str:
    if difference.may_enter is None:
        return ""
    return "no longer" if difference.may_enter[0] else "from now on"


def _shape(group: CallerGroup, difference: AccessDifference) -> dict[str, object]:
    examples = {
        kind: {**fields_of(each), "label": each.label.to_json(), "clearance": each.clearance.name}
        for kind, each in difference.examples.items()
    }
    return {
        **fields_of(group),
        "gained_rows": difference.gained_rows,
        "lost_rows": difference.lost_rows,
        "may_enter": None if difference.may_enter is None else difference.may_enter[1],
        "examples": examples,
    }
