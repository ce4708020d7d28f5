"""The wheel and the sdist of this checkout, and environments without the checkout that they are installed into."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.waiting import COMMAND_SECONDS

ROOT = Path(__file__).parents[2]
SDK = ROOT / "clients" / "vecsec-client"
THIS_SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


@dataclass(frozen=True)
class Distributions:
    """What `python -m build` made."""

    wheel: Path
    sdist: Path


def build(target: Path, folder: Path = ROOT) -> Distributions:
    """Build both, the wheel from the sdist, with the tools of this environment instead of downloaded ones."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(folder))
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Distributions(wheel, sdist)


def build_wheel(folder: Path, target: Path) -> Path:
    """The wheel of another distribution of this checkout, built likewise."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(target), str(folder))
    (wheel,) = target.glob("*.whl")
    return wheel


def needed_by(*names: str) -> list[Distribution]:
    """The distributions of these names, and those that they need here, without extras; each once."""
    found: dict[str, Distribution] = {}
    wanted = list(names)
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        wanted += found[name].requires or []
    return list(found.values())


@dataclass(frozen=True)
class NewEnvironment:
    """An environment of its own, in which nothing is installed at first, pip neither."""

    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> "NewEnvironment":
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        return cls(folder)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def install(self, *wanted: str) -> None:
        """These alone, without what they need."""
        self._pip("install", "--no-deps", *wanted)

    def uninstall(self, name: str) -> None:
        self._pip("uninstall", "--yes", name)

    def link(self, *names: str) -> None:
        """Of the packages of the tests' environment these alone, with what they need themselves."""
        for each in needed_by(*names):
            tops = {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}
            for top in tops:
                target = self.site_packages / top
                if not target.exists():
                    target.symlink_to(str(each.locate_file(top)))

    def add_what_vecsec_needs(self) -> None:
        """This environment's packages, behind its own ones. VecSec is not among them: pip's link to the checkout works
        only where it was made."""
        (self.site_packages / "dependencies.pth").write_text(f"{THIS_SITE_PACKAGES}\n")

    def remove_what_vecsec_needs(self) -> None:
        """So that pip sees what is installed here, and nothing else."""
        (self.site_packages / "dependencies.pth").unlink()

    def run(self, program: str, *, cwd: Path, **variables: str) -> str:
        """What this program in Python prints; `variables` are added to the environment's."""
        return _run(str(self.python), "-c", program, cwd=cwd, variables=variables)

    def _pip(self, *arguments: str) -> None:
        options = ("--disable-pip-version-check", "--quiet", "--python", str(self.python))
        _run(sys.executable, "-m", "pip", *options, *arguments)


def _run(*command: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, cwd=cwd, env=environment
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
