"""The subcommands of `vecsec tenant`."""

import typer

from vecsec_cli.tenants import exporting, repairing, rereading, restoring

app = typer.Typer(help="Back up, restore, verify, repair and reread a tenant.", no_args_is_help=True)
app.command("export")(exporting.export)
app.command("import")(restoring.import_archive)
app.command("verify")(repairing.verify)
app.command("repair")(repairing.repair)
app.command("reread")(rereading.reread)
