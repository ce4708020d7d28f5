"""`vecsec policy`: work with policies before they are in force."""

import typer

app = typer.Typer(
    name="policy",
    help="Check, test and compare policies, and roll them out.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def policy() -> None:
    """Check, test and compare policies, and roll them out."""
