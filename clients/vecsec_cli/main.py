"""The `vecsec` command: each subcommand is registered in one line."""

from typing import Annotated

import typer

from vecsec_cli.commands import (
    deleting,
    doctor,
    documents,
    explain,
    listing,
    relabelling,
    search,
    sources,
    up,
    violations,
)
from vecsec_cli.commands import flag as flags
from vecsec_cli.commands import token as tokens
from vecsec_cli.importing.command import import_documents
from vecsec_cli.tenants import command as tenants
from vecsec_cli.terminal import exit_codes, output
from vecsec_cli.terminal.command_group import CommandGroup
from vecsec_client import __version__

app = typer.Typer(
    name="vecsec",
    cls=CommandGroup,
    epilog=f"Exit codes:\n\n{exit_codes.help_table()}",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below, too
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.say(f"vecsec {__version__}")
        raise typer.Exit


@app.callback()
def vecsec(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Secured vector retrieval: the nearest passages among those the caller may read, and nothing else."""


app.command("up")(up.up)
app.command("import")(import_documents)
app.command("search")(search.search)
app.command("get")(documents.get)
app.command("list")(listing.list_documents)
app.command("count")(listing.count)
app.command("relabel")(relabelling.relabel)
app.command("delete")(deleting.delete)
app.command("collections")(documents.collections)
app.command("explain")(explain.explain)
app.command("violations")(violations.violations)
app.command("token")(tokens.token)
app.add_typer(flags.app, name="flag")
app.add_typer(sources.app, name="sources")
app.add_typer(tenants.app, name="tenant")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line."""
    app()
