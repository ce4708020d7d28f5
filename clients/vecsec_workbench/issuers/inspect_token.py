"""`vecsec token inspect`: how a token is read, step by step, or why it is refused."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.auth.issuers_file import TrustedIssuer, load_trusted_issuers
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.options import JsonOption, StateDirectoryOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_workbench.issuers.inspection import Outcome, Step, inspect_token
from vecsec_workbench.issuers.issuers_option import IssuersOption, issuers_file

_LONGEST = 4 * 1024 * 1024
_MARKS = {
    Outcome.HOLDS: ("ok     ", "bold green"),
    Outcome.REFUSED: ("refused", "bold red"),
    Outcome.UNKNOWN: ("unknown", "bold yellow"),
}


def inspect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token; `-` reads it from standard input.")],
    *,
    issuers: IssuersOption = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch keys that are behind URLs; else nothing leaves this machine.")
    ] = False,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Say how a token is read, step by step, by an issuers file, or why it is refused; without any service.

    Its signature is never printed. The exit status is 3 if it is refused.
    """
    path = issuers_file(issuers, state_dir)
    steps = inspect_token(_text(token), _issuers(path), now=time.time(), fetch=fetch)
    refused = [step for step in steps if step.outcome is Outcome.REFUSED]
    unknown = [step for step in steps if step.outcome is Outcome.UNKNOWN]
    if json:
        output.print_json({"accepted": not refused and not unknown, "steps": [fields_of(step) for step in steps]})
    else:
        for step in steps:
            _print(step)
        _print_verdict(path, refused, unknown)
    if refused:
        raise typer.Exit(ExitCode.UNAUTHENTICATED)


def _text(token: str) -> str:
    is_piped = token == "-"  # noqa: S105 (no password)
    text = sys.stdin.read(_LONGEST) if is_piped else token
    return text.strip().removeprefix("Bearer ").strip()


def _issuers(path: Path) -> list[TrustedIssuer]:
    try:
        return load_trusted_issuers(path)
    except ConfigurationError as error:
        raise CommandFailure(str(error), hint=f"`vecsec issuers check {path}` says more") from error


def _print(step: Step) -> None:
    mark, style = _MARKS[step.outcome]
    output.say(plain(mark, style) + plain(f"  {step.name}: {step.text}"))


def _print_verdict(path: Path, refused: list[Step], unknown: list[Step]) -> None:
    if refused:
        output.say(plain("refused", "bold red") + plain(f" by {path}, for its {refused[0].name}"))
    elif unknown:
        names = ", ".join(step.name for step in unknown)
        output.say(plain("accepted", "bold yellow") + plain(f" by {path}, if these hold: {names} (see --fetch)"))
    else:
        output.say(plain("accepted", "bold green") + plain(f" by {path}"))
