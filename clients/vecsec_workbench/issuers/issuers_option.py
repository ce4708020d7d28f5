"""Which issuers file a command is about."""

from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.options import state_directory

ISSUERS_VARIABLE = "VECSEC_ISSUERS_FILE"
_HELP = "The issuers file. Default: that of the state directory."

IssuersArgument = Annotated[Path | None, typer.Argument(metavar="[FILE]", envvar=ISSUERS_VARIABLE, help=_HELP)]
IssuersOption = Annotated[
    Path | None, typer.Option("--issuers", envvar=ISSUERS_VARIABLE, help=_HELP, show_default=False)
]


def issuers_file(option: Path | None, state_dir: Path | None) -> Path:
    """The file that an option, or the lack of it, names."""
    return option or state_directory(state_dir).issuers_file
