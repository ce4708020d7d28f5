"""`vecsec issuers` and `vecsec token inspect`. Each subcommand is registered in one line."""

import typer

from vecsec_workbench.issuers import check, inspect_token

app = typer.Typer(name="issuers", help="Check the issuers file.", no_args_is_help=True, add_completion=False)
token_app = typer.Typer(name="inspect", add_completion=False)


@app.callback()
def issuers() -> None:
    """Check the issuers file, before it is in force or after."""


app.command("check")(check.check)
token_app.command("inspect")(inspect_token.inspect)
