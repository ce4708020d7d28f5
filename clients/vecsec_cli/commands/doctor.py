"""`vecsec doctor`: looks at an installation and says what to do."""

import os
from collections.abc import Iterator

import typer

from vecsec_cli.checks.certificates import check_certificates
from vecsec_cli.checks.configuration import check_configuration
from vecsec_cli.checks.finding import CheckResult, CheckState, fail
from vecsec_cli.checks.machine import check_machine
from vecsec_cli.checks.services import check_services
from vecsec_cli.checks.start import check_start
from vecsec_cli.checks.store import check_store
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import plain

_STYLE = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.FAIL: "bold red"}


def doctor(*, state_dir: StateDirectoryOption = None, json: JsonOption = False) -> None:
    """Check machine, configuration, store and services. Nothing is changed. Exit code 1 if something fails."""
    findings = list(_findings(state_directory(state_dir)))
    is_well = all(finding.state is not CheckState.FAIL for finding in findings)
    if json:
        output.print_json({"ok": is_well, "checks": findings})
    else:
        _print(findings)
    if not is_well:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _findings(state: StateDirectory) -> Iterator[CheckResult]:
    try:
        settings = operator_settings()
    except CommandFailure as failure:
        yield fail(".env", failure.message, failure.hint or "")
        settings = dict(os.environ)
    yield from check_machine(state)
    yield from check_start(state, settings)
    yield from check_configuration(state, settings)
    yield from check_certificates(settings)
    yield from check_store(state, settings)
    yield from check_services(state, settings)


def _print(findings: list[CheckResult]) -> None:
    rows = [(plain(each.state.value, _STYLE[each.state]), each.check, each.detail, each.remedy) for each in findings]
    output.print_table("", "check", output.folded("found"), output.folded("what to do"), rows=rows, framed=False)
