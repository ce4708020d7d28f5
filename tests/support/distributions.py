"""The wheel and the sdist of this checkout, and environments without the checkout that they are installed into."""

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from support.waiting import COMMAND_SECONDS

ROOT = Path(__file__).parents[2]
THIS_SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


@dataclass(frozen=True)
class Distributions:
    """What `python -m build` made."""

    wheel: Path
    sdist: Path


def build(target: Path) -> Distributions:
    """Build both, the wheel from the sdist, with the tools of this environment instead of downloaded ones."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT))
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Distributions(wheel, sdist)


def build_wheel(folder: Path, target: Path) -> Path:
    """The wheel of another distribution of this checkout, built likewise."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(target), str(folder))
    (wheel,) = target.glob("*.whl")
    return wheel


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

    def add_what_vecsec_needs(self) -> None:
        """This environment's packages, behind its own ones. VecSec is not among them: pip's link to the checkout works
        only where it was made."""
        (self.site_packages / "dependencies.pth").write_text(f"{THIS_SITE_PACKAGES}\n")

    def remove_what_vecsec_needs(self) -> None:
        """So that pip sees what is installed here, and nothing else."""
        (self.site_packages / "dependencies.pth").unlink()

    def run(self, program: str, *, cwd: Path) -> str:
        """What this program in Python prints."""
        return _run(str(self.python), "-c", program, cwd=cwd)

    def _pip(self, *arguments: str) -> None:
        options = ("--disable-pip-version-check", "--quiet", "--python", str(self.python))
        _run(sys.executable, "-m", "pip", *options, *arguments)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
