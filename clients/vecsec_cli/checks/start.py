"""Whether each service could start with the settings and files of this machine: it says so itself, line by line."""

import subprocess
import sys
from collections.abc import Iterator, Mapping

from vecsec_cli.checks.finding import CheckResult, fail, ok
from vecsec_cli.local.preflight import SERVICE_MODULES, missing_packages
from vecsec_cli.local.service_settings import service_environment, services_of
from vecsec_cli.local.shards import shard_count, with_shards
from vecsec_cli.local.state_directory import StateDirectory

_LONGEST_SECONDS = 60.0
_CHECK = "settings and files"
_SETTINGS = "all settings: docs/reference/configuration.md"


def check_start(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """What would end a service's start; nothing where they are not installed, or not set up yet."""
    is_prepared = state.root.is_dir() or bool(settings.get("VECSEC_ISSUERS_FILE"))
    if missing_packages() or not is_prepared:
        return
    known = with_shards(services_of(settings), shard_count(state, settings, None), state, settings)
    environment = service_environment(settings, state, known)
    for each in known:
        if each.name == each.kind:  # of several shards the first is asked
            environment |= each.environment
    # At the same time: most of it is Python reading modules.
    asked = {name: _ask(name, environment) for name in SERVICE_MODULES}
    whose: dict[str, list[str]] = {}
    for module, process in asked.items():
        for line in _complaints(module, process):
            whose.setdefault(line, []).append(module.removeprefix("vecsec_"))
    for line, services in whose.items():
        detail, _, remedy = line.rpartition("; ")
        yield fail(f"start of {', '.join(services)}", detail or line, remedy if detail else _SETTINGS)
    if not whose:
        yield ok(_CHECK, "every service could start with them")


def _ask(module: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-P", "-m", module, "--check"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _complaints(module: str, process: "subprocess.Popen[str]") -> list[str]:
    """What the service complains of, a line each."""
    try:
        _, errors = process.communicate(timeout=_LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return [f"{module} --check does not end; is a file on a disk or network that hangs?"]
    if process.returncode == 0:
        return []
    start = f"{module.replace('_', ' ')}: "
    said = [line.removeprefix(start) for line in errors.splitlines() if line.startswith(start)]
    return said or [f"{module} --check ended with status {process.returncode}: {errors.strip()[-300:]}"]
