"""Looks at a stack: what it says of its services, and what a probe says where each of them runs."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

from vecsec_cli.checks.finding import CheckResult, fail, ok
from vecsec_cli.checks.stacks.probed import Times, findings_of
from vecsec_cli.checks.stacks.stack import Command, Run, ServicePlace, Stack
from vecsec_cli.terminal.failures import CommandFailure


def check_stack(stack: Stack, run: Run) -> Iterator[CheckResult]:
    """What is found at a stack, and nowhere else; which it is stands first."""
    yield ok("stack", stack.title)
    try:
        looked = stack.look(run)
    except CommandFailure as failure:
        yield fail("stack", failure.message, failure.hint)
        return
    yield from looked.findings
    script = files(__package__).joinpath("probe.py").read_text(encoding="utf-8")
    with ThreadPoolExecutor() as threads:  # most of it is Python reading modules, each in its own place
        for findings in threads.map(lambda place: list(_probed(place, script, run)), looked.places):
            yield from findings


def _probed(place: ServicePlace, script: str, run: Run) -> Iterator[CheckResult]:
    before = time.time()
    command = Command([*place.python.arguments, "-", place.kind], place.python.environment)
    try:
        done = run(command, _setting(place.environment) + script)
    except CommandFailure as failure:
        yield fail(place.name, failure.message, failure.hint)
        return
    try:
        report: dict[str, Any] = json.loads(done.output)
    except ValueError:
        yield fail(place.name, f"cannot be looked at where it runs: {done.complaint[:300]}", place.logs)
        return
    yield from findings_of(place, report, Times(before, time.time()))


def _setting(environment: Mapping[str, str] | None) -> str:
    """What sets it, at the head of the probe: by its input, for who runs it must not be governed by it."""
    if environment is None:
        return ""
    return f"import os\nos.environ.clear()\nos.environ.update({dict(environment)!a})\n"
