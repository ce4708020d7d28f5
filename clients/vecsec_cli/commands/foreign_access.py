"""How `vecsec violations --foreign-access` tells what callers of other tenants did."""

import typer

from vecsec_cli.terminal import output
from vecsec_cli.terminal.text import plain
from vecsec_client import ForeignAccess, ForeignAccessPage

_QUESTIONS = {
    "explain": "asked why rows are readable",
    "count": "counted violations",
    "list": "listed violations",
    "status": "asked for the policy's state",
}


def document(tenant: str, page: ForeignAccessPage) -> dict[str, object]:
    """The page for programs."""
    return {
        "tenant_id": tenant,
        "accesses": page.accesses,
        "has_more": page.has_more,
        "since": page.since,
        "replica_id": page.replica_id,
    }


def print_page(page: ForeignAccessPage) -> None:
    """The page for people."""
    rows = [
        (
            f"{each.time:%Y-%m-%d %H:%M:%S}",
            each.caller_tenant_id,
            f"{each.subject} ({each.role})",
            _what(each),
            f"{each.call_count:,}",
            f"{each.row_count:,}",
            each.incident_id,
        )
        for each in page.accesses
    ]
    if rows:
        headings = ("time (UTC)", "from tenant", "caller", "what", output.right("calls"), output.right("rows"))
        # The incident stays whole: it is what one searches by.
        output.print_table(*headings, output.folded("incident"), rows=rows)
    else:
        output.say(f"no caller of another tenant was let in, by the audit log of {page.replica_id}")
    if page.has_more:
        output.say(plain("there are older ones: --list so many, or --until the oldest of these", "dim"))
    output.say(plain(f"the audit log of {page.replica_id} begins at {page.since:%Y-%m-%d %H:%M:%S} UTC", "dim"))
    output.say(plain("each replica of the policy service has a log of its own: others may hold more", "dim"))


def print_followed(access: ForeignAccess, *, as_json: bool) -> None:
    """One line for what has just happened."""
    if as_json:
        typer.echo(output.as_json(access))  # a document a line, for there is no end
        return
    output.say(
        plain(f"{access.time:%Y-%m-%d %H:%M:%S}  ", "dim")
        + plain(f"{access.subject} ({access.role}) of {access.caller_tenant_id}", "bold red")
        + plain(f"  {_what(access)}  {access.call_count:,} calls, {access.row_count:,} rows  ")
        + plain(f"incident {access.incident_id}", "dim")
    )


def _what(access: ForeignAccess) -> str:
    action = access.action or "something"
    if access.kind == "grant":
        return f"was granted: {action}"
    return action if access.kind == "use" else _QUESTIONS.get(access.kind, access.kind)
