"""The containers of a Compose project, as deploy/compose has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.checks.stacks.stack import DEFAULT_GATEWAY_PORT, Command, Looked, Run, ServicePlace, demand
from vecsec_cli.terminal.failures import CommandFailure

_GATEWAY = "vecsec-agent"
_KINDS = {_GATEWAY: "gateway", "policy": "policy"}
_PROGRAMS = (("docker", "compose"), ("docker-compose",))
_HINT = "is Docker running, and is this the project's file? --compose-file names another"


@dataclass(frozen=True, slots=True)
class Compose:
    """The stack of a Compose file."""

    file: Path
    program: tuple[str, ...] = ("docker", "compose")
    """Compose, as a plugin of Docker's or by itself."""

    @classmethod
    def found(cls, file: Path, run: Run) -> "Compose":
        """The stack of a file, by the Compose that this machine has.

        Raises:
            CommandFailure: with what Docker said, if it has none.
        """
        refusals = []
        for program in _PROGRAMS:
            try:
                done = run(Command([*program, "version"]), "")
            except CommandFailure as failure:
                refusals.append(failure.message)
                continue
            if not done.status:
                return cls(file, program)
            refusals.append(f"`{' '.join(program)}`: {done.first_error}")
        raise CommandFailure(
            "; ".join(refusals), hint="the doctor has to be run where Docker and Compose are installed"
        )

    @property
    def title(self) -> str:
        """Which project it is."""
        return f"Compose project of {self.file}"

    @property
    def command(self) -> list[str]:
        """How Compose is called for it."""
        return [*self.program, "--file", str(self.file)]

    def gateway_port(self, run: Run) -> int | None:
        """Where the project's file publishes it."""
        done = run(Command([*self.command, "config", "--format", "json"]), "")
        if done.status:
            return None
        ports = json.loads(done.output)["services"].get(_GATEWAY, {}).get("ports", [])
        published = (each.get("published") for each in ports if each.get("target") == DEFAULT_GATEWAY_PORT)
        return next((int(port) for port in published if str(port).isdigit()), None)

    def look(self, run: Run) -> Looked:
        """Ask Compose which services there should be and which containers there are."""
        wanted = demand(run, [*self.command, "config", "--services"], _HINT).split()
        listing = demand(run, [*self.command, "ps", "--all", "--format", "json"], _HINT)
        # One that runs counts before one that has ended; those of `compose run` are no service.
        lasting = [each for each in _documents(listing) if "-run-" not in str(each.get("Name", ""))]
        lasting.sort(key=lambda each: each.get("State") == "running")
        containers: dict[str, Mapping[str, Any]] = {each["Service"]: each for each in lasting}
        findings = [self._finding(service, containers.get(service)) for service in sorted(wanted)]
        running = [service for service in sorted(wanted) if containers.get(service, {}).get("State") == "running"]
        places = [self._place(service, kind) for service in running if (kind := _kind(service))]
        return Looked(places, findings)

    def _place(self, service: str, kind: str) -> ServicePlace:
        typed = " ".join(self.command)
        return ServicePlace(
            name=service,
            kind=kind,
            python=Command([*self.command, "exec", "-T", service, "python", "-P"]),
            restart=f"{typed} restart {service}",
            logs=f"{typed} logs --tail 50 {service}",
        )

    def _finding(self, service: str, container: Mapping[str, Any] | None) -> CheckResult:
        typed = " ".join(self.command)
        if container is None:
            return fail(service, "there is no container of it", "make up")
        state, health = str(container.get("State")), str(container.get("Health") or "")
        if state != "running":
            detail = f"{state}, status {container.get('ExitCode')}"
            return fail(service, detail, f"{typed} logs --tail 50 {service}; then {typed} start {service}")
        if health == "unhealthy":
            return fail(service, "running, but does not serve", f"{typed} logs --tail 50 {service}")
        if health == "starting":
            return warn(service, "running, and does not serve yet", f"{typed} logs --tail 50 {service}")
        return ok(service, "running and healthy" if health else "running")


def _kind(service: str) -> str | None:
    return "retrieval" if service.partition("-")[0] == "retrieval" else _KINDS.get(service)


def _documents(listing: str) -> list[dict[str, Any]]:
    """What Compose lists: one array in older versions, a document a line in newer ones."""
    text = listing.strip()
    found: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else []
    return found or [json.loads(line) for line in text.splitlines() if line.startswith("{")]
