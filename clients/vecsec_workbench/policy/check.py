"""`vecsec policy check`: everything wrong with a policy folder, and what is legal but hardly ever meant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.access import Action
from vecsec_cli.options import JsonOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_policy.folder.policy_source import Diagnostics
from vecsec_policy.in_force.snapshot import check_policy_folder
from vecsec_workbench.policy.folder import PACKAGED
from vecsec_workbench.policy.lint import LintFinding, Severity, lint

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}


@dataclass(slots=True)
class CheckReport:
    """What the check found, as `--json` prints it."""

    policy_version: str
    """The policy's content hash; empty if it could not be read."""
    errors: int = field(init=False)
    warnings: int = field(init=False)
    findings: Sequence[LintFinding]
    decisions: int = 0
    """How many decisions the warnings stand on; 0 if the policy could not decide any."""
    every_combination: bool = False
    """Whether these are all that rules can tell apart; else they are a sample."""
    undecided_rules: Sequence[str] = ()
    """Rules that decided nothing of a sample; of a policy that was decided whole they are findings."""
    across_tenants: Mapping[str, Sequence[Action]] = field(default_factory=dict)
    """What each role may do in tenants that are not its caller's own; roles that may nothing there are left out."""

    def __post_init__(self) -> None:
        severities = [finding.severity for finding in self.findings]
        self.errors, self.warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)


def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", envvar="VECSEC_POLICY_DIR", help="The policy folder. Default: the packaged policy."
        ),
    ] = PACKAGED,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse warnings, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a policy folder without any service: errors that would keep the policy service from starting, and warnings
    about rules that never decide, roles that may do nothing and walls with holes.

    Exit code 1 means errors or, with --strict, warnings.
    """
    report = examine(folder)
    if json:
        output.print_json(fields_of(report))
    else:
        _print(folder, report)
    if report.errors or (strict and report.findings):
        raise typer.Exit(ExitCode.SOME_FAILED)


def examine(folder: Path) -> CheckReport:
    """Look at everything; the warnings only if there are no errors."""
    diagnostics = Diagnostics()
    source, policy = check_policy_folder(folder, diagnostics)
    if source is None or policy is None:
        version = source.version if source is not None else ""
        return CheckReport(version, [LintFinding.from_complaint(complaint) for complaint in diagnostics.found])
    findings, space, found = lint(folder, source, policy)
    return CheckReport(
        source.version,
        findings,
        found.decisions,
        space.is_complete and found.is_complete,
        () if found.is_complete else sorted(policy.engine.rules.keys() - found.deciding),
        {role: sorted(actions) for role, actions in sorted(found.crossing.items())},
    )


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _print(folder: Path, report: CheckReport) -> None:
    for finding in report.findings:
        output.say(
            plain(f"{finding.place}: ") + plain(f"{finding.severity}: {finding.kind}", _STYLES[finding.severity])
        )
        output.say(plain(f"    {finding.message}"))
    verdict = f"{_counted(report.errors, 'error')}, {_counted(report.warnings, 'warning')}"
    style = "bold red" if report.errors else "bold yellow" if report.warnings else "bold green"
    output.say(plain(verdict, style) + plain(f"  {folder}, policy {report.policy_version[:12] or 'unreadable'}"))
    if report.decisions:
        extent = "every combination" if report.every_combination else "a sample"
        output.say(plain(f"{report.decisions:,} decisions tried: {extent} of what rules can tell apart", "dim"))
        if report.undecided_rules:
            output.say(
                plain(f"{len(report.undecided_rules)} rules decided nothing of the sample; --json names them", "dim")
            )
        crossing = (f"{role} ({', '.join(actions)})" for role, actions in report.across_tenants.items())
        output.say(plain(f"across tenants: {'; '.join(crossing) or 'nobody'}", "dim"))
