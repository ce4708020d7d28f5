"""`vecsec doctor`: looks at an installation and says what to do."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.checks.audit import check_audit
from vecsec_cli.checks.certificates import check_certificates
from vecsec_cli.checks.configuration import check_configuration
from vecsec_cli.checks.finding import CheckResult, CheckState, fail, ok
from vecsec_cli.checks.foreign_gateway import check_foreign_gateway, foreign_gateway, is_of_another_stack
from vecsec_cli.checks.machine import check_machine
from vecsec_cli.checks.services import check_services
from vecsec_cli.checks.stacks.choice import StackKind, chosen_stack
from vecsec_cli.checks.stacks.looking import check_stack
from vecsec_cli.checks.stacks.stack import run_program
from vecsec_cli.checks.start import check_start
from vecsec_cli.checks.store import check_stores
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import plain

_STYLE = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.FAIL: "bold red"}
_DEFAULT_NAMESPACE = "vecsec"

StackOption = Annotated[
    StackKind,
    typer.Option(
        "--stack",
        help="How the services run. auto: systemd where /etc/vecsec is the state directory (or there is no other), "
        "Compose with deploy/compose/state, else `vecsec up`; Kubernetes only if it is said.",
    ),
]
ComposeFileOption = Annotated[
    Path | None,
    typer.Option("--compose-file", help="The project's file, with Compose. Default: beside the state directory."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="The namespace, with Kubernetes.")]


def doctor(
    *,
    stack: StackOption = StackKind.AUTO,
    compose_file: ComposeFileOption = None,
    namespace: NamespaceOption = _DEFAULT_NAMESPACE,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Check machine, configuration, store and services. Nothing is changed. Exit code 1 if something fails."""
    state = state_directory(state_dir)
    other = chosen_stack(stack, state, compose_file, namespace, run_program)
    # A stack that is named is looked at, whatever gateway the environment is set to.
    is_named = stack is not StackKind.AUTO or compose_file is not None
    if other is not None and not is_named and is_of_another_stack(os.environ, other.gateway_port(run_program)):
        findings = list(check_foreign_gateway(os.environ["VECSEC_GATEWAY"], state, os.environ))
    else:
        findings = list(_local_findings(state) if other is None else check_stack(other, run_program))
    is_well = all(finding.state is not CheckState.FAIL for finding in findings)
    if json:
        output.print_json({"ok": is_well, "checks": findings})
    else:
        _print(findings)
    if not is_well:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _local_findings(state: StateDirectory) -> Iterator[CheckResult]:
    try:
        settings = operator_settings()
    except CommandFailure as failure:
        yield fail(".env", failure.message, failure.hint or "")
        settings = dict(os.environ)
    elsewhere = foreign_gateway(state, settings)
    if elsewhere is not None:
        yield from check_foreign_gateway(elsewhere, state, settings)
        return
    yield ok("stack", f"`vecsec up` with state directory {state.root}")
    yield from check_machine(state)
    yield from check_start(state, settings)
    yield from check_configuration(state, settings)
    yield from check_certificates(settings)
    yield from check_stores(state, settings)
    yield from check_audit(state, settings)
    yield from check_services(state, settings)


def _print(findings: list[CheckResult]) -> None:
    rows = [(plain(each.state.value, _STYLE[each.state]), each.check, each.detail, each.remedy) for each in findings]
    output.print_table("", "check", output.folded("found"), output.folded("what to do"), rows=rows, framed=False)
