"""The units of deploy/systemd on this machine. A service is looked at in its own mount namespace, as its own user and
with the environment of its process, so that what is found is what it has.

A process can rewrite what `/proc` says of its arguments and environment. So root runs nothing by them: they are for the
probe, once it is the service's user (`enter.py`).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from vecsec_cli.checks.finding import CheckResult, fail, ok
from vecsec_cli.checks.stacks.stack import DEFAULT_GATEWAY_PORT, KINDS, Command, Looked, Run, ServicePlace, demand
from vecsec_cli.terminal.failures import CommandFailure

_PROPERTIES = "LoadState,ActiveState,SubState,MainPID,ExecMainStatus,NRestarts"
_WRONG_SETTING = "78"
_AS_ROOT = "run it as root: sudo /opt/vecsec/bin/vecsec doctor --stack systemd"


@dataclass(frozen=True, slots=True)
class Systemd:
    """The stack of units."""

    interpreter: str = sys.executable
    """The Python that root runs, before it is the service's user."""

    @property
    def title(self) -> str:
        """Whose units these are."""
        return "systemd units vecsec-gateway, vecsec-retrieval and vecsec-policy of this machine"

    def gateway_port(self, run: Run) -> int | None:
        """What the running gateway was told."""
        try:
            pid = _state("vecsec-gateway", run).get("MainPID", "0")
            told = _environment(demand(run, ["cat", f"/proc/{pid}/environ"], _AS_ROOT))
        except CommandFailure:
            return None
        port = told.get("VECSEC_GATEWAY_PORT") or str(DEFAULT_GATEWAY_PORT)
        return int(port) if port.isdecimal() else None

    def look(self, run: Run) -> Looked:
        """Ask systemd for the units, and the kernel for their processes."""
        places: list[ServicePlace] = []
        findings: list[CheckResult] = []
        for kind in KINDS:
            unit = f"vecsec-{kind}"
            try:
                state = _state(unit, run)
                if state.get("ActiveState") != "active":
                    findings.append(_down(unit, state, run))
                    continue
                findings.append(ok(unit, f"active ({state.get('SubState')}), process {state.get('MainPID')}"))
                places.append(self._place(unit, kind, state["MainPID"], run))
            except CommandFailure as failure:
                findings.append(fail(unit, failure.message, failure.hint or ""))
        return Looked(places, findings)

    def _place(self, unit: str, kind: str, pid: str, run: Run) -> ServicePlace:
        entries, status, arguments = (
            demand(run, ["cat", f"/proc/{pid}/{file}"], _AS_ROOT) for file in ("environ", "status", "cmdline")
        )
        python = arguments.split("\0")[0]
        enter = files(__package__).joinpath("enter.py").read_text(encoding="utf-8")
        begun = [self.interpreter, "-I", "-c", enter, pid, *_identity(status)]
        return ServicePlace(
            name=unit,
            kind=kind,
            python=Command([*begun, python, "-P"], environment={}),
            restart=f"systemctl restart {unit}",
            logs=_log_of(unit, 50),
            environment=_environment(entries),
        )


def _environment(entries: str) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries.split("\0"))
    return {name: value for name, is_set, value in pairs if name and is_set}


def _state(unit: str, run: Run) -> dict[str, str]:
    told = demand(run, ["systemctl", "show", f"--property={_PROPERTIES}", f"{unit}.service"], "is this systemd?")
    return dict(line.partition("=")[::2] for line in told.splitlines())


def _log_of(unit: str, lines: int) -> str:
    return f"journalctl -u {unit} -n {lines} --no-pager"


def _identity(status: str) -> list[str]:
    """User, group and further groups of a process, by its `/proc/PID/status`, which the kernel writes."""
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    return [fields["Uid"][1], fields["Gid"][1], ",".join(fields.get("Groups", []))]


def _down(unit: str, state: Mapping[str, str], run: Run) -> CheckResult:
    if state.get("LoadState") != "loaded":
        return fail(unit, "there is no such unit", "install deploy/systemd, or name the stack that runs (--stack)")
    detail = f"{state.get('ActiveState')} ({state.get('SubState')})"
    # Of the service itself: what systemd says of it afterwards tells nothing.
    journal = ["journalctl", f"_SYSTEMD_UNIT={unit}.service", "-n", "1", "--no-pager", "-o", "cat"]
    last = run(Command(journal), "").output.strip()
    said = f"; its last line: {last[:400]}" if last else ""
    if state.get("ExecMainStatus") == _WRONG_SETTING:
        return fail(unit, f"{detail}, for a setting is wrong{said}", f"correct it, then systemctl restart {unit}")
    remedy = (
        f"systemctl reset-failed {unit}; systemctl start {unit}" if "failed" in detail else f"systemctl start {unit}"
    )
    return fail(unit, f"{detail}{said}", remedy)
