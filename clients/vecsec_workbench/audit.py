"""`vecsec audit`: read the audit log, and prove that it is whole."""

import typer

app = typer.Typer(name="audit", help="Verify and search the audit log.", no_args_is_help=True, add_completion=False)


@app.callback()
def audit() -> None:
    """Verify and search the audit log."""
