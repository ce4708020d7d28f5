"""deploy/compose as an operator has it: copied, prepared, and run by the real docker-compose."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.docker_engine import ROOT
from support.installation import vecsec_command
from support.parts import find_program
from support.waiting import COMMAND_SECONDS
from vecsec_cli.checks.stacks.stack import Done

COMPOSE = ROOT / "deploy" / "compose"
_UP_SECONDS = 900


@dataclass(frozen=True)
class Project:
    """A copy of deploy/compose with what lies around it."""

    folder: Path
    host: str | None = None
    """The engine's address."""
    override: Path | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def prepare(self) -> str:
        """Run the set-up step; what it complained of."""
        command = [sys.executable, str(COMPOSE / "prepare.py"), str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False, text=True, timeout=COMMAND_SECONDS).stderr

    def set(self, **settings: str) -> None:
        """Write settings into `.env`, in the place of those that it has."""
        file, left = self.folder / ".env", dict(settings)
        names = [line.partition("=")[0] for line in file.read_text().splitlines()]
        lines = [
            f"{name}={left.pop(name)}" if name in left else line
            for name, line in zip(names, file.read_text().splitlines(), strict=True)
        ]
        file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in left.items())]) + "\n")

    def compose(self, *arguments: str) -> str:
        """Run docker-compose.

        Raises:
            RuntimeError: with what it complained of.
        """
        return _demand(self.done(list(arguments)))

    def compose_at_root(self, *arguments: str) -> str:
        """The same from the repository's root, without saying where the files are."""
        return _demand(self._run(list(arguments), self.folder.parent.parent))

    def done(self, arguments: list[str], text: str = "") -> Done:
        """Run docker-compose with a text as its input; how it ended."""
        command = ["--project-directory", str(self.folder), "--file", str(self.folder / "compose.yaml")]
        command += [] if self.override is None else ["--file", str(self.override)]
        return self._run([*command, *arguments], self.folder, text)

    def _run(self, arguments: list[str], folder: Path, text: str = "") -> Done:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "CHROMA_"))
        }
        environment |= {} if self.host is None else {"DOCKER_HOST": self.host}
        done = subprocess.run(
            [str(find_program("docker-compose")), *arguments],
            cwd=folder,
            input=text,
            capture_output=True,
            check=False,
            text=True,
            timeout=_UP_SECONDS,
            env=environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def config(self, *profiles: str) -> dict[str, Any]:
        """What docker-compose makes of the files; with no profiles, those of `.env`."""
        chosen = [part for profile in profiles for part in ("--profile", profile)]
        found: dict[str, Any] = json.loads(self.compose(*chosen, "config", "--format", "json"))
        return found

    def vecsec(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a `vecsec` command as an operator of this project does."""
        usual = {
            "VECSEC_STATE_DIR": str(self.state),
            "VECSEC_FLAG_FILE": str(self.state / "flags" / "flags.json"),
            "VECSEC_POLICY_DIR": str(self.state / "rules" / "policy"),
            "VECSEC_POLICY_ROLLOUT_FILE": str(self.state / "rules" / "rollout.json"),
        }
        return subprocess.run(
            [vecsec_command(), *arguments],
            env=os.environ | usual | environment,
            cwd=self.folder.parent.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=COMMAND_SECONDS,
        )


def _demand(done: Done) -> str:
    if done.status:
        raise RuntimeError(done.errors[-3000:])
    return done.output


def copied_project(folder: Path, host: str | None = None, override: Mapping[str, Any] | None = None) -> Project:
    """Copy what compose.yaml needs, but for keys and `.env`; `override` is merged into it, as JSON."""
    private = shutil.ignore_patterns("state", ".env", "__pycache__")
    for part in ("compose", "monitoring"):
        shutil.copytree(ROOT / "deploy" / part, folder / "deploy" / part, ignore=private)
    overriding = None if override is None else folder / "override.json"
    if overriding is not None:
        overriding.write_text(json.dumps(override))
    return Project(folder / "deploy" / "compose", host, overriding)
