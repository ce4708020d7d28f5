"""The subcommands of `vecsec tenant`."""

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import TenantOption
from vecsec_cli.tenants import exporting, repairing, restoring, usage
from vecsec_cli.terminal import output

app = typer.Typer(help="Back up, restore, verify, repair, measure and reread a tenant.", no_args_is_help=True)
app.command("export")(exporting.export)
app.command("import")(restoring.import_archive)
app.command("verify")(repairing.verify)
app.command("repair")(repairing.repair)
app.command("usage")(usage.usage)


@app.command()
@with_gateway
def reread(session: GatewaySession, *, tenant: TenantOption) -> None:
    """Let go of what is kept in memory of a tenant and read it from the store anew, while the services go on.

    For roles that may configure. Only this tenant's searches are slower until its rows are in memory again.
    """
    policy_version = session.client.reread_tenant(tenant=tenant)
    if session.json:
        output.print_json({"tenant_id": tenant, "policy_version": policy_version})
    else:
        output.say(f"what is kept in memory of {tenant} is read anew")
