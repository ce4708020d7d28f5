"""`vecsec policy`: work with policies before they are in force. Each subcommand is registered in one line."""

import typer

from vecsec_workbench.policy import check, diff, explain, labels, replay, rollout
from vecsec_workbench.policy import status as policy_status
from vecsec_workbench.policy.cases import run_tests

app = typer.Typer(
    name="policy",
    help="Check, test and compare policies, and roll them out.",
    no_args_is_help=True,
    add_completion=False,
)


app.command("check")(check.check)
app.command("diff")(diff.diff)
app.command("explain")(explain.explain)
app.command("labels")(labels.labels)
app.command("replay")(replay.replay)
app.command("test")(run_tests.run_tests)
app.command("promote")(rollout.promote)
app.command("rollback")(rollout.rollback)
app.command("shadow")(rollout.shadow)
app.command("status")(policy_status.status)
