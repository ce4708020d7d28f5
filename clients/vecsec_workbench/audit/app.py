"""`vecsec audit`: read the audit log, and prove that it is whole. Each subcommand is registered in one line."""

import typer

from vecsec_workbench.audit import search as audit_search
from vecsec_workbench.audit import stats as audit_stats
from vecsec_workbench.audit import verify as audit_verify

app = typer.Typer(name="audit", help="Verify and search the audit log.", no_args_is_help=True, add_completion=False)


app.command("verify")(audit_verify.verify)
app.command("search")(audit_search.search)
app.command("stats")(audit_stats.stats)
