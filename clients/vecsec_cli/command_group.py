"""Turns every expected failure of a subcommand into one clear line, a hint and an exit code."""

import typer
from typer.core import TyperGroup

from vecsec_cli.failures import CommandFailure


class CommandGroup(TyperGroup):
    """The root of the command line."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the subcommand; report what it raises."""
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            typer.echo(f"vecsec: {failure.message}", err=True)
            raise typer.Exit(failure.exit_code) from failure
