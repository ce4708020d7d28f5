"""A stack of services: which there should be, and how to run something where one of them runs."""

import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vecsec_cli.checks.finding import CheckResult
from vecsec_cli.terminal.failures import CommandFailure

DEFAULT_GATEWAY_PORT = 50051
KINDS = ("gateway", "retrieval", "policy")
_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, and what it is told beside its arguments."""

    arguments: Sequence[str]
    environment: Mapping[str, str] | None = None
    """In place of ours; never on the command line, which others can see."""


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended."""

    status: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The last thing that it said of what is wrong."""
        lines = [line.strip() for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        return lines[-1] if lines else f"status {self.status}"

    @property
    def first_error(self) -> str:
        """What it complained of first, warnings left out: of programs that go on with how they are used."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return next((line for line in lines if not _is_warning(line)), self.complaint)


Run = Callable[[Command, str], Done]
"""Runs a command with a text as its input."""


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """One service, where it runs."""

    name: str
    """As it is called there: a unit, a container's service, a pod."""
    kind: str
    """Gateway, retrieval or policy."""
    python: Command
    """Python there, as the service's user and in its environment; arguments follow."""
    restart: str
    """What to type to restart it."""
    logs: str
    """What to type to read its log."""
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    """What the probe sets in place of its own, where that is not the service's; nothing before the probe has it."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a stack says of its services at once."""

    places: Sequence[ServicePlace] = ()
    """Those that run, and can be looked at more closely."""
    findings: Sequence[CheckResult] = field(default_factory=list)


class Stack(Protocol):
    """Services that run in one way, in one place."""

    @property
    def title(self) -> str:
        """Which stack it is, so that nobody takes it for another."""
        ...

    def gateway_port(self, run: Run) -> int | None:
        """The port of this machine at which its gateway is reached; None if there is none, or nobody says."""
        ...

    def look(self, run: Run) -> Looked:
        """Find its services.

        Raises:
            CommandFailure: if nothing can be learnt of them.
        """
        ...


def run_program(command: Command, text: str = "") -> Done:
    """Run a program of this machine.

    Raises:
        CommandFailure: if it is not there, or does not end.
    """
    try:
        done = subprocess.run(  # noqa: S603 (programs by name, arguments of ours)
            list(command.arguments),
            input=text,
            env=None if command.environment is None else dict(command.environment),
            capture_output=True,
            text=True,
            errors="surrogateescape",  # what others wrote may be anything
            check=False,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise CommandFailure(
            f"{command.arguments[0]}: {error.strerror}", hint="it has to be installed where the doctor is run"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailure(
            f"`{' '.join(command.arguments[:4])} …` does not end after {_SECONDS:.0f} s",
            hint="is what it talks to alive?",
        ) from error
    return Done(done.returncode, done.stdout, done.stderr)


def _is_warning(line: str) -> bool:
    return line.startswith("WARN") or "level=warning" in line


def demand(run: Run, arguments: Iterable[str], hint: str) -> str:
    """The output of a program that has to succeed.

    Raises:
        CommandFailure: with what it said, if it does not.
    """
    wanted = list(arguments)
    done = run(Command(wanted), "")
    if done.status:
        raise CommandFailure(f"`{' '.join(wanted)}`: {done.first_error}", hint=hint)
    return done.output
