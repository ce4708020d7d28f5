"""Which stack to look at: the one that is named, or the one that the state directory belongs to."""

from enum import StrEnum
from pathlib import Path

from vecsec_cli.checks.stacks.compose import Compose
from vecsec_cli.checks.stacks.kubernetes import Kubernetes
from vecsec_cli.checks.stacks.stack import Run, Stack
from vecsec_cli.checks.stacks.systemd import Systemd
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

_OF_UNITS = Path("/etc/vecsec")
_COMPOSE_FILE = "compose.yaml"


class StackKind(StrEnum):
    """How services run."""

    AUTO = "auto"
    LOCAL = "local"
    SYSTEMD = "systemd"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"


def chosen_stack(
    kind: StackKind, state: StateDirectory, compose_file: Path | None, namespace: str, run: Run
) -> Stack | None:
    """The stack; None for that of `vecsec up`, whose state directory it is.

    Raises:
        CommandFailure: if the named one cannot be found, or two are named.
    """
    if compose_file is not None and kind not in {StackKind.AUTO, StackKind.COMPOSE}:
        raise CommandFailure(
            f"--compose-file names a Compose project, and --stack {kind.value} another stack",
            hint="leave one of them out",
        )
    if kind is StackKind.AUTO:
        kind = _kind_of(state, compose_file)
    if kind is StackKind.SYSTEMD:
        return Systemd()
    if kind is StackKind.COMPOSE:
        file = compose_file or state.root.parent / _COMPOSE_FILE
        if not file.is_file():
            raise CommandFailure(f"{file} is not there", hint="--compose-file names the project's file")
        return Compose.found(file.absolute(), run)
    if kind is StackKind.KUBERNETES:
        return Kubernetes.current(namespace, run)
    return None


def _kind_of(state: StateDirectory, compose_file: Path | None) -> StackKind:
    """Never a cluster: which one kubectl is set to, nobody has said here."""
    if compose_file is not None or (state.root.name == "state" and (state.root.parent / _COMPOSE_FILE).is_file()):
        return StackKind.COMPOSE
    is_of_units = state.root == _OF_UNITS or (_OF_UNITS.is_dir() and not state.root.is_dir())
    return StackKind.SYSTEMD if is_of_units else StackKind.LOCAL
