"""`vecsec violations`: how often rules were broken."""

from rich.table import Table

from vecsec_cli import output
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import TenantOption
from vecsec_cli.terminal_text import plain


@with_gateway
def violations(session: GatewaySession, tenant: TenantOption) -> None:
    """Count a tenant's violations and denials since the policy service started; for callers who may configure it."""
    counts = session.client.count_violations(tenant=tenant)
    if session.json:
        output.print_json(
            {
                "tenant_id": tenant,
                "violations": dict(counts.counts),
                "denied_count": counts.denied_count,
                "since": counts.since.isoformat(),
            }
        )
        return
    table = Table("violation", header_style="bold")
    table.add_column("count", justify="right")
    for name, count in counts.counts.items():
        table.add_row(plain(name, "bold red" if count else ""), f"{count:,}")
    table.add_section()
    table.add_row("calls refused", f"{counts.denied_count:,}")
    output.console().print(table)
    output.say(plain(f"since {counts.since:%Y-%m-%d %H:%M:%S} UTC", "dim"))
