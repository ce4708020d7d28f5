"""Which policy folder a command is about, and what is in it."""

from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

PolicyOption = Annotated[
    Path,
    typer.Option(
        "--policy",
        envvar="VECSEC_POLICY_DIR",
        help="The policy folder. Default: the packaged policy.",
        show_default=False,
    ),
]
PACKAGED = PACKAGED_POLICY
PACKAGED_CASES = PACKAGED_POLICY / "cases"


def load(folder: Path) -> PolicySnapshot:
    """The policy of a folder.

    Raises:
        CommandFailure: in one line with file, line and reason.
    """
    try:
        return load_snapshot(folder)
    except ConfigurationError as error:
        raise CommandFailure(
            str(error), hint=f"`vecsec policy check {folder}` lists everything wrong with it"
        ) from error
