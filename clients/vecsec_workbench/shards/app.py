"""`vecsec shards`, a command without subcommands."""

import typer

from vecsec_workbench.shards import table

app = typer.Typer(name="shards", add_completion=False)
app.command("shards")(table.shards)
