"""Processes by name, started and stopped as systemd would: in tests and, as `systemctl`, in shell commands under test.

`python -m support.units FOLDER systemctl restart NAME` is what the runbook's test calls `systemctl`. The folder holds a
definition and a process id for each unit. A unit is started once its port answers.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from support.waiting import wait_until

STOP_SECONDS = 60
NOT_RUNNING = 3
"""What systemctl answers for a unit that is not active."""


@dataclass(frozen=True)
class Unit:
    """How a process is started."""

    command: Sequence[str]
    environment: Mapping[str, str]
    port: int


class Units:
    """The units of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment_file = folder / "vecsec.env"
        """`NAME=value` lines over the environment of every unit, as systemd's EnvironmentFile."""

    def define(self, name: str, unit: Unit) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.environment_file.touch()
        (self._folder / f"{name}.json").write_text(json.dumps(asdict(unit)))

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def start(self, name: str) -> None:
        """Start it and wait until its port answers; nothing happens if it runs."""
        if self.is_active(name):
            return
        unit = Unit(**json.loads((self._folder / f"{name}.json").read_text()))
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                unit.command,
                env={**unit.environment, **self._settings()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
            )
        self._pid_file(name).write_text(str(process.pid))

        def complaint() -> str:
            return f"{name} did not start:\n{self.log(name).read_text()[-3000:]}"

        wait_until(lambda: _answers(unit.port) or process.poll() is not None, complaint)
        assert process.poll() is None, complaint()

    def stop(self, name: str) -> None:
        """Stop it: politely first, and then not."""
        self.signal(name, signal.SIGCONT)
        self.signal(name, signal.SIGTERM)
        with suppress(AssertionError):
            wait_until(lambda: not self.is_active(name), seconds=STOP_SECONDS)
        if self.is_active(name):
            self.signal(name, signal.SIGKILL)
            wait_until(lambda: not self.is_active(name))

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        pid = self.pid(name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pid(self, name: str) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._pid_file(name).read_text())
        return None

    def is_active(self, name: str) -> bool:
        pid = self.pid(name)
        if pid is None:
            return False
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def stop_all(self) -> None:
        for name in self.names():
            self.stop(name)

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _settings(self) -> dict[str, str]:
        lines = (line.partition("=") for line in self.environment_file.read_text().splitlines() if "=" in line)
        return {name: value for name, _, value in lines}


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def systemctl(units: Units, verb: str, *names: str) -> int:
    """The verbs that the runbook uses."""
    for name in names:
        if verb in {"start", "stop", "restart"}:
            getattr(units, verb)(name)
        elif verb not in {"is-active", "status"}:
            raise ValueError(f"systemctl {verb} is not played here")
        elif units.is_active(name):
            print(f"{name}: active")
        else:
            print(f"{name}: inactive")
            return NOT_RUNNING
    return 0


def journalctl(units: Units, *options: str) -> int:
    """The last lines of a unit's log."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-u", dest="unit", required=True)
    parser.add_argument("-n", dest="lines", type=int, required=True)
    parser.add_argument("--no-pager", action="store_true")
    asked = parser.parse_args(options)
    print("\n".join(units.log(asked.unit).read_text().splitlines()[-asked.lines :]))
    return 0


if __name__ == "__main__":
    folder, command, *arguments = sys.argv[1:]
    sys.exit({"systemctl": systemctl, "journalctl": journalctl}[command](Units(Path(folder)), *arguments))
