"""`vecsec policy replay`: recorded decisions, made again by a candidate."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Label
from vecsec_cli.options import JsonOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_policy.audit.records import AuditedOutcome
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_workbench.audit.records import AuditLogOption, Unreadable, recorded_decisions
from vecsec_workbench.policy.decisions import UNKNOWN_ROLE, AccessRequest, Decision, decide, label_in_words, reasons
from vecsec_workbench.policy.folder import load

_SHOWN = 50
_WORD = {True: "allow", False: "refuse"}


@dataclass(frozen=True, slots=True)
class ChangedDecision:
    """What the candidate decides otherwise than was decided: the same for everybody of a role and tenant."""

    role: str
    caller_tenant_id: str
    tenant_id: str
    action: Action
    label: Label | None
    """None where it is about entering the tenant."""
    before: str
    before_rules: str
    after: str
    after_rules: str


@dataclass(slots=True)
class Replay:
    """What came of a log."""

    decisions: int = 0
    """How many recorded decisions were made again."""
    changes: Counter[ChangedDecision] = field(default_factory=Counter)
    """How often each change occurred: calls for entering a tenant, rows for labels."""
    incidents: dict[ChangedDecision, str] = field(default_factory=dict)
    """One incident id for each change."""
    unreadable: list[Unreadable] = field(default_factory=list)
    lacking_groups: int = 0
    """How many were of callers with so many groups that the log has only those that rows name."""
    rows_left_out: int = 0
    """How many rows were not decided again: their labels were too large for the log."""
    unknown_roles: Counter[str] = field(default_factory=Counter)
    """Roles of recorded callers that the candidate does not know, and how many calls they made."""


def replay(
    candidate: Annotated[Path, typer.Argument(metavar="DIR", help="The candidate's policy folder.")],
    *,
    audit_log: AuditLogOption = None,
    json: JsonOption = False,
) -> None:
    """Let a candidate decide again what the audit log has, and list what it would decide otherwise.

    Exit code 1 means that something would be decided otherwise. Records that cannot be decided again are counted and
    named.
    """
    if not audit_log:
        raise CommandFailure("say which decisions: --audit-log FILE")
    policy = load(candidate)
    found = replay_log(policy, audit_log)
    if not found.decisions:
        raise CommandFailure(
            f"no recorded decision could be made again; {len(found.unreadable):,} lines hold none that can be read",
            exit_code=ExitCode.NOT_FOUND,
        )
    if json:
        output.print_json(_as_json(found, policy.version))
    else:
        _print(found, policy.version)
    if found.changes:
        raise typer.Exit(ExitCode.SOME_FAILED)


def replay_log(policy: PolicySnapshot, logs: Sequence[Path]) -> Replay:
    """Make the decisions of these logs again."""
    found = Replay()
    for recorded in recorded_decisions(logs):
        if isinstance(recorded, Unreadable):
            found.unreadable.append(recorded)
            continue
        found.decisions += 1
        found.lacking_groups += recorded.groups_left_out > 0
        found.rows_left_out += recorded.rows_left_out
        now = decide(policy, AccessRequest.of(recorded), [rows.label for rows in recorded.rows])
        if UNKNOWN_ROLE in now.entry.rule_ids:
            found.unknown_roles[recorded.role] += 1
        for change, count in _changes(recorded, now):
            found.changes[change] += count
            found.incidents.setdefault(change, recorded.incident_id)
    return found


def _changes(recorded: RecordedDecision, now: Decision) -> Iterator[tuple[ChangedDecision, int]]:
    if recorded.outcome is not now.outcome:
        was_allowed = recorded.outcome is AuditedOutcome.ALLOWED
        told = ", ".join(recorded.rule_ids) or recorded.outcome.value
        yield _change(recorded, None, now.entry, was_allowed=was_allowed, by=told), 1
    for rows, verdict in zip(recorded.rows, now.rows, strict=True):
        if rows.allowed != verdict.allowed:
            by = ", ".join(rows.rule_ids)
            yield _change(recorded, rows.label, verdict, was_allowed=rows.allowed, by=by), rows.row_count


def _change(
    recorded: RecordedDecision, label: Label | None, now: Verdict, *, was_allowed: bool, by: str
) -> ChangedDecision:
    return ChangedDecision(
        role=recorded.role,
        caller_tenant_id=recorded.caller_tenant_id,
        tenant_id=recorded.tenant_id,
        action=recorded.action,
        label=label,
        before=_WORD[was_allowed],
        before_rules=by,
        after=_WORD[now.allowed],
        after_rules=reasons(now),
    )


def _print(found: Replay, version: str) -> None:
    if found.changes:
        headings = ("who", "wants to", "what", "before → after", "by", output.right("times"))
        output.print_table(*headings, rows=[_cells(*each) for each in found.changes.most_common(_SHOWN)])
        if len(found.changes) > _SHOWN:
            output.say(f"and {len(found.changes) - _SHOWN:,} more; --json has all")
    verdict = f"{len(found.changes):,} differences" if found.changes else "no differences"
    style = "bold red" if found.changes else "bold green"
    output.say(plain(verdict, style) + plain(f"  {found.decisions:,} decisions made again, policy {version[:12]}"))
    for role, count in sorted(found.unknown_roles.items()):
        output.note(f"role {role!r} is unknown to the candidate: {count:,} calls of it are refused")
    if found.lacking_groups:
        output.note(
            f"{found.lacking_groups:,} decisions were of callers with many groups: the log has only those that rows "
            "name, and a rule that names others may decide otherwise than it would have"
        )
    if found.rows_left_out:
        output.note(
            f"{found.rows_left_out:,} rows were not decided again: their labels were too large for the log, which has "
            "their size and hash"
        )
    for line in found.unreadable[:_SHOWN]:
        output.note(f"{line.place}: not replayed: {line.reason}")
    if len(found.unreadable) > _SHOWN:
        output.note(f"{len(found.unreadable):,} lines were not replayed in all")


def _cells(change: ChangedDecision, count: int) -> tuple[str | Text, ...]:
    return (
        f"{change.role} of {change.caller_tenant_id}",
        change.action.value,
        f"enter {change.tenant_id}" if change.label is None else label_in_words(change.label),
        plain(f"{change.before} → {change.after}", "bold red" if change.after == "allow" else "bold yellow"),
        f"{change.before_rules or '-'} → {change.after_rules}",
        f"{count:,}",
    )


def _as_json(found: Replay, version: str) -> dict[str, object]:
    return {
        "policy_version": version,
        "decisions": found.decisions,
        "differences": [
            {
                **fields_of(change),
                "label": None if change.label is None else change.label.to_json(),
                "count": count,
                "incident_id": found.incidents[change],
            }
            for change, count in found.changes.most_common()
        ],
        "not_replayed": found.unreadable,
        "lacking_groups": found.lacking_groups,
        "rows_left_out": found.rows_left_out,
        "unknown_roles": dict(sorted(found.unknown_roles.items())),
    }
