"""The processor time of processes, as the kernel counts it."""

import os
from collections.abc import Mapping
from pathlib import Path

from support.installation import Installation

SERVICES = ("gateway", "retrieval", "policy")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def service_pids(installation: Installation) -> dict[str, int]:
    """The processes of a running `vecsec up`, by service."""
    tasks = Path(f"/proc/{installation.process.pid}/task")
    children = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    return {name: next(pid for pid in children if f"vecsec_{name}" in commands[pid]) for name in SERVICES}


def cpu_seconds(pids: Mapping[str, int | str]) -> dict[str, float]:
    """User and system time that each process has used so far, all its threads together."""
    return {name: cpu_of_stat(Path(f"/proc/{pid}/stat").read_text()) for name, pid in pids.items()}


def cpu_of_stat(stat: str) -> float:
    """Seconds of user and system time in a line of /proc/PID/stat, whose second field may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
