"""`vecsec violations`: how often rules were broken, by whom, and as it happens."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Protocol, TypeVar, cast

import typer

from vecsec_cli.commands import foreign_access as foreign
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import TenantOption, split_words
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import plain
from vecsec_cli.terminal.time_options import SinceOption, UntilOption, parse_time
from vecsec_client import Unavailable, Violation, ViolationCounts, ViolationWord

_FOLLOWED_PAGE = 500


@with_gateway
def violations(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    violation_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this kind of violation, such as topic_violation; may be repeated."),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int, typer.Option("--list", min=0, max=1000, metavar="N", help="List the newest N violations too.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print violations as they happen, from --since on, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="With --follow: seconds between two looks.")
    ] = 2.0,
    foreign_access: Annotated[
        bool,
        typer.Option(
            "--foreign-access",
            help="Instead: what callers of other tenants did in this one, for its own callers alone; the newest 100, "
            "or as many as --list says.",
        ),
    ] = False,
) -> None:
    """Count violations and refused calls of a tenant's callers, list them or follow them; for callers who may
    configure the tenant.

    What is known comes from the audit log of the policy service, so it survives restarts. Rows that a plan simply left
    out are neither: they were filtered.
    """
    types = cast("list[ViolationWord]", split_words(violation_type or []))  # the client refuses others by name
    start, end = parse_time(since, "--since"), parse_time(until, "--until")
    if follow and until is not None:
        raise CommandFailure("--follow and --until contradict each other")
    if foreign_access:
        if types:
            raise CommandFailure("--foreign-access and --type contradict each other")
        _tell_foreign_access(session, tenant, start, end, limit=limit, interval=interval if follow else None)
        return
    if follow:
        begin = start or datetime.now(UTC)
        pages = _followed(
            lambda token: session.client.list_violations(
                tenant=tenant, types=types, start=begin, page_size=_FOLLOWED_PAGE, page_token=token
            ),
            interval,
        )
        for page in pages:
            for violation in page.violations:
                _print_followed(violation, as_json=session.json)
        return
    counts = session.client.count_violations(tenant=tenant, types=types, start=start, end=end)
    listed: tuple[Violation, ...] = ()
    if limit:
        page = session.client.list_violations(
            tenant=tenant, types=types, start=start, end=end, page_size=limit, newest_first=True
        )
        listed = page.violations
    if session.json:
        output.print_json(_document(tenant, counts) | ({"newest": listed} if limit else {}))
        return
    _print_counts(counts)
    if limit:
        _print_list(listed)


def _tell_foreign_access(
    session: GatewaySession,
    tenant: str,
    start: datetime | None,
    end: datetime | None,
    *,
    limit: int,
    interval: float | None,
) -> None:
    """List what callers of other tenants did or, with an interval, follow it."""
    if interval is not None:
        begin = start or datetime.now(UTC)
        pages = _followed(
            lambda token: session.client.list_foreign_access(
                tenant=tenant, start=begin, page_size=_FOLLOWED_PAGE, page_token=token
            ),
            interval,
        )
        for page in pages:
            for access in page.accesses:
                foreign.print_followed(access, as_json=session.json)
        return
    page = session.client.list_foreign_access(tenant=tenant, start=start, end=end, page_size=limit, newest_first=True)
    if session.json:
        output.print_json(foreign.document(tenant, page))
    else:
        foreign.print_page(page)


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...

    @property
    def has_more(self) -> bool: ...


PageT = TypeVar("PageT", bound=_Page)


def _followed(next_page: Callable[[str], PageT], interval: float) -> Iterator[PageT]:
    """Pages, as there is something new; `next_page` gives the one behind a token."""
    token = ""
    is_away = False
    while True:
        try:
            page = next_page(token)
        except Unavailable as error:
            if not is_away:
                output.note(f"{error.message}; still following")
            is_away = True
            time.sleep(interval)
            continue
        is_away = False
        yield page
        token = page.next_page_token
        if not page.has_more:
            time.sleep(interval)


def _print_followed(violation: Violation, *, as_json: bool) -> None:
    if as_json:
        typer.echo(output.as_json(violation))  # a document a line, for there is no end
        return
    output.say(
        plain(f"{violation.time:%Y-%m-%d %H:%M:%S}  ", "dim")
        + plain(f"{violation.violation_type} x{violation.count}", "bold red")
        + plain(f"  {violation.subject} ({violation.role})  {_requested(violation)}  ")
        + plain(f"incident {violation.incident_id}", "dim")
    )


def _document(tenant: str, counts: ViolationCounts) -> dict[str, object]:
    return {
        "tenant_id": tenant,
        "violations": counts.counts,
        "denied_count": counts.denied_count,
        "since": counts.since,
        "replica_id": counts.replica_id,
    }


def _print_counts(counts: ViolationCounts) -> None:
    counted = [(plain(name, "bold red" if count else ""), f"{count:,}") for name, count in counts.counts.items()]
    refused = ("calls refused", f"{counts.denied_count:,}")
    output.print_table("violation", output.right("count"), rows=[*counted, (), refused])
    output.say(plain(f"the audit log of {counts.replica_id} begins at {counts.since:%Y-%m-%d %H:%M:%S} UTC", "dim"))


def _print_list(listed: tuple[Violation, ...]) -> None:
    rows = [
        (
            f"{e.time:%Y-%m-%d %H:%M:%S}",
            f"{e.violation_type} x{e.count}",
            e.subject,
            e.role,
            _requested(e),
            e.incident_id,
        )
        for e in listed
    ]
    # The incident stays whole: it is what one searches by.
    headings = ("time (UTC)", "violation", "caller", "role", "wanted", output.folded("incident"))
    output.print_table(*headings, rows=rows)


def _requested(violation: Violation) -> str:
    return f"{violation.action or 'something'} in {violation.requested_tenant_id}"
