"""The `vecsec` command: each subcommand is registered in one line."""

import typer

from vecsec_cli import exit_codes
from vecsec_cli.command_group import CommandGroup

app = typer.Typer(
    name="vecsec",
    cls=CommandGroup,
    help="Secured vector retrieval: the nearest passages among those the caller may read, and nothing else.",
    epilog=f"Exit codes:\n\n{exit_codes.help_table()}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def start() -> None:
    """Secured vector retrieval: the nearest passages among those the caller may read, and nothing else."""


def main() -> None:
    """Run the command line."""
    app()
