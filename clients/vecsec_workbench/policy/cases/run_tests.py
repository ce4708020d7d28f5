"""`vecsec policy test`: what a policy must say, as cases in YAML."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from junitparser import Failure, JUnitXml, TestCase, TestSuite

from vecsec_cli.options import JsonOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.text import plain
from vecsec_workbench.policy.cases.files import read_suites
from vecsec_workbench.policy.cases.runs import CaseResult, run_case
from vecsec_workbench.policy.folder import PACKAGED, PACKAGED_CASES, PolicyOption, load

_MISMATCHES_SHOWN = 5


def run_tests(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[DIR]", help="A folder of suites, or one suite. Default: the packaged policy's suite."),
    ] = PACKAGED_CASES,
    *,
    policy: PolicyOption = PACKAGED,
    junit: Annotated[Path | None, typer.Option(help="Write the results to this file as JUnit XML, too.")] = None,
    json: JsonOption = False,
) -> None:
    """Test a policy folder against suites of cases, without any service.

    Exit code 1 means that some case failed.
    """
    cases = read_suites(folder)
    snapshot = load(policy)
    started = time.perf_counter()
    results = [run_case(snapshot, case) for case in cases]
    seconds = time.perf_counter() - started
    if junit is not None:
        _write_junit(junit, results)
    if json:
        output.print_json(_as_json(results, snapshot.version))
    else:
        _print(results, snapshot.version, seconds)
    if not all(result.passed for result in results):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _print(results: Sequence[CaseResult], version: str, seconds: float) -> None:
    failed = [result for result in results if not result.passed]
    for result in failed:
        output.say(plain("FAILED  ", "bold red") + plain(result.sourced.case.name, "bold"))
        output.say(plain(f"  {result.sourced.place}", "dim"))
        for line in _lines(result):
            output.say(f"  {line}")
    decided = sum(result.combinations for result in results)
    verdict = f"{len(failed)} of {len(results)} cases failed" if failed else f"all {len(results)} cases passed"
    style = "bold red" if failed else "bold green"
    output.say(plain(verdict, style) + plain(f"  {decided:,} decisions in {seconds:.1f} s, policy {version[:12]}"))


def _lines(result: CaseResult) -> list[str]:
    """What was otherwise than expected; the first few combinations stand for all."""
    if result.refusal:
        return [f"cannot be decided: {result.refusal}"]
    lines = []
    for difference in result.differences[:_MISMATCHES_SHOWN]:
        lines += [difference.asked, f"  - {difference.expected}", f"  + {difference.actual}"]
    more = len(result.differences) - _MISMATCHES_SHOWN
    if more > 0:
        lines.append(f"and {more} more of {result.combinations} combinations")
    return lines


def _as_json(results: Sequence[CaseResult], version: str) -> dict[str, object]:
    return {
        "policy_version": version,
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "decisions": sum(result.combinations for result in results),
        "cases": [
            {
                "name": result.sourced.case.name,
                "place": result.sourced.place,
                "passed": result.passed,
                "combinations": result.combinations,
                "refusal": result.refusal,
                "differences": result.differences,
            }
            for result in results
        ],
    }


def _write_junit(file: Path, results: Sequence[CaseResult]) -> None:
    suites: dict[str, TestSuite] = {}
    for result in results:
        case = TestCase(result.sourced.case.name, classname=result.sourced.suite)
        if not result.passed:
            failure = Failure(f"{result.sourced.place}: not as expected")
            failure.text = "\n".join(_lines(result))
            case.result = [failure]
        suites.setdefault(result.sourced.suite, TestSuite(result.sourced.suite)).add_testcase(case)
    document = JUnitXml("vecsec policy test")
    for suite in suites.values():
        document.add_testsuite(suite)
    document.write(str(file), pretty=True)
