"""`vecsec issuers check`: what of an issuers file cannot work, before anybody is refused for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.options import JsonOption, StateDirectoryOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_workbench.issuers.examination import IssuerFinding, Severity, examine
from vecsec_workbench.issuers.issuers_option import IssuersArgument, issuers_file

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}


def check(
    file: IssuersArgument = None,
    *,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            envvar="VECSEC_POLICY_DIR",
            help="A policy folder, whose roles and tenants the issuers are compared with.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Check an issuers file without any service: keys that cannot be had (URLs are asked), mappings and bounds that let
    nobody in, roles that no policy knows, keys that come without TLS.

    Exit code 1 means errors.
    """
    path = issuers_file(file, state_dir)
    count, findings = examine(path, policy)
    if json:
        output.print_json({"file": path, "issuers": count, "findings": [fields_of(each) for each in findings]})
    else:
        _print(path, count, findings)
    if any(each.severity is Severity.ERROR for each in findings):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _print(path: Path, count: int, findings: Sequence[IssuerFinding]) -> None:
    for each in findings:
        place = plain(f"{each.issuer or path}: ")
        output.say(place + plain(str(each.severity), _STYLES[each.severity]) + plain(f": {each.message}"))
    errors = sum(each.severity is Severity.ERROR for each in findings)
    style = "bold red" if errors else "bold yellow" if findings else "bold green"
    verdict = f"{errors or 'no'} error{'' if errors == 1 else 's'}, {len(findings) - errors or 'no'} warnings"
    output.say(plain(verdict, style) + plain(f"  {path}, {count} {'issuer' if count == 1 else 'issuers'}"))
