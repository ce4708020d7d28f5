"""`vecsec audit search`: find records by who, what and when."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Annotated, Any

import typer

from vecsec_cli.options import JsonOption, StateDirectoryOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.text import plain
from vecsec_cli.terminal.time_options import SinceOption, UntilOption, parse_time
from vecsec_policy.audit.foreign_use import FOREIGN_ACCESS
from vecsec_workbench.audit.records import FileOption, LoggedRecord, RecordFilter, audit_log, records


def search(
    *,
    file: FileOption = None,
    state_dir: StateDirectoryOption = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant that was asked for, or the caller's.")] = None,
    caller: Annotated[str | None, typer.Option(help="The subject of the caller's token.")] = None,
    incident: Annotated[str | None, typer.Option(help="An incident id, as callers quote it.")] = None,
    request: Annotated[str | None, typer.Option(help="A request id, as logs and answers have it.")] = None,
    violation_type: Annotated[
        str | None, typer.Option("--type", help="A kind of violation, such as topic_violation.")
    ] = None,
    call: Annotated[str | None, typer.Option(help="What was asked: plan, check, explain, count, list, …")] = None,
    outcome: Annotated[str | None, typer.Option(help="What was answered: allowed, denied, unknown_tenant.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    json: JsonOption = False,
) -> None:
    """Find records; they are shown the oldest first."""
    wanted = RecordFilter(
        tenant=tenant,
        violation_type=violation_type,
        exact={
            "subject": caller,
            "incident_id": incident,
            "request_id": request,
            "call": call,
            "outcome": outcome,
        },
        since=parse_time(since, "--since"),
        until=parse_time(until, "--until"),
    )
    newest: deque[LoggedRecord] = deque(maxlen=limit)
    match_count = 0
    for record in records(audit_log(file, state_dir), wanted):
        newest.append(record)
        match_count += 1
    if json:
        output.print_json(
            {
                "match_count": match_count,
                "records": [{"file": str(record.file), "line": record.line, **record.fields} for record in newest],
            }
        )
        return
    _print(newest)
    shown = f", the newest {limit:,} are shown" if match_count > limit else ""
    output.say(plain(f"{match_count:,} records match{shown}", "dim"))


def _print(found: Iterable[LoggedRecord]) -> None:
    headings = ("time (UTC)", "record", "call", "outcome", "caller", "tenant", "rows", "violations")
    # The incident stays whole: it is what one searches by.
    output.print_table(*headings, output.folded("incident"), rows=[_cells(record) for record in found])


def _cells(record: LoggedRecord) -> tuple[str, ...]:
    fields = record.fields
    return (
        f"{record.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        str(fields.get("sequence", "")),
        str(fields.get("call") or fields.get("kind", "")),
        str(fields.get("outcome", "")),
        _caller(fields),
        str(fields.get("tenant_id", "")),
        _rows(fields),
        _violations(fields.get("violations")),
        str(fields.get("incident_id", "")),
    )


def _caller(fields: Mapping[str, Any]) -> str:
    """Who, and who asked in their name."""
    if "subject" not in fields:
        return ""
    actors = fields.get("actors") or ()
    return f"{fields['subject']} ({fields.get('role')})" + "".join(f", by {actor}" for actor in actors)


def _rows(fields: Mapping[str, Any]) -> str:
    if "withheld_count" in fields:
        return f"{fields['allowed_count']} of {int(fields['allowed_count']) + int(fields['withheld_count'])}"
    return f"{fields['rows']} in {fields['calls']} calls" if fields.get("kind") == FOREIGN_ACCESS else ""


def _violations(counts: object) -> str:
    return ", ".join(f"{name} x{count}" for name, count in counts.items()) if isinstance(counts, dict) else ""
