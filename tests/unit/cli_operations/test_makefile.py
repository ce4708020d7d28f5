"""`make` explains itself, and refuses in one line what it cannot work with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import COMMAND_SECONDS

ROOT = Path(__file__).parents[3]
TARGETS = {
    *("help", "run", "up", "down", "test", "test-newest", "fuzz", "lint", "format", "protos", "docs", "lock"),
    *("bench", "bench-quick", "bench-quality", "clean"),
}
LOCKS = [f"deploy/development/requirements-{name}.txt" for name in ("build", "services", "development")]

OUTER_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON"}
"""What `make test` hands down to the tests; a make below it would speak otherwise than one that somebody types."""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="not installed: make")


def make(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in OUTER_MAKE} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make needs of a clone, without an environment."""
    for name in ("Makefile", "pyproject.toml", "deploy/development/environment", *LOCKS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def fake_python(folder: Path, script: str) -> str:
    """Programs named like Pythons, which hide those of the machine."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_make_alone_prints_each_target_with_a_line() -> None:
    printed = make().stdout
    described = {line.split()[0]: line.split(maxsplit=1)[1] for line in printed.splitlines()[1:]}
    assert described.keys() == TARGETS
    assert all(described.values())


def test_a_python_that_is_too_old_is_one_line(clone: Path) -> None:
    path = fake_python(clone, 'test "$1" = --version && echo "Python 3.9.2" && exit 0; exit 1')
    refusal = make("run", folder=clone, PATH=path)
    assert refusal.returncode != 0
    assert refusal.stderr.splitlines()[0] == (
        "make: VecSec needs Python 3.11 or newer, found Python 3.9.2; install one, or name it: "
        "make PYTHON=/path/to/python3"
    )


def test_a_python_without_venv_is_one_line(clone: Path) -> None:
    path = fake_python(clone, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    refusal = make("run", folder=clone, PATH=path)
    assert "install the python3-venv package" in refusal.stderr.splitlines()[0]
    assert not (clone / ".venv").exists()


def test_a_full_disk_is_one_line(clone: Path) -> None:
    path = fake_python(clone, "exit 0")
    df = clone / "programs" / "df"
    df.write_text('#!/bin/sh\necho "Filesystem 1024-blocks Used Available"; echo "disk 9999 9000 20480 99% /"\n')
    df.chmod(0o755)
    refusal = make("run", folder=clone, PATH=path)
    assert "the disk is full: 20 MiB free here" in refusal.stderr.splitlines()[0]


def test_the_second_make_costs_nothing(clone: Path) -> None:
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "vecsec").write_text('#!/bin/sh\necho "vecsec $*"\n')
    (programs / "vecsec").chmod(0o755)
    (clone / ".venv" / "installed-services").touch()
    done = make("run", "ARGS=--no-demo", folder=clone)
    assert (done.returncode, done.stdout) == (0, "vecsec up --no-demo\n")


def built_environment(clone: Path, *, machine: str, headers: Path) -> Path:
    """An environment for another machine, whose pip says what it is told; the programs that the script may see."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    (packages,) = (clone / ".venv").glob("lib/python*/site-packages")
    (packages / "other_machine.py").write_text(
        "import platform, sys, sysconfig\n"
        f"sys.platform = 'linux'\nplatform.machine = lambda: {machine!r}\n"
        f"sysconfig.get_path = lambda name: {str(headers)!r}\n"
    )
    (packages / "other_machine.pth").write_text("import other_machine\n")
    (packages / "pip.py").write_text("import sys\nprint('pip', *sys.argv[1:])\n")
    (clone / ".venv" / "bin" / "pip").symlink_to("python")
    programs = clone / "programs"
    programs.mkdir()
    for name in ("awk", "comm", "cp", "df", "mv", "sed", "sort"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return programs


def environment(clone: Path, programs: Path, part: str = "services") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "deploy/development/environment", part],
        cwd=clone,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


@pytest.mark.parametrize("has_compiler", [False, True])
def test_what_building_needs_and_lacks_is_one_line(clone: Path, *, has_compiler: bool) -> None:
    programs = built_environment(clone, machine="aarch64", headers=clone / "no-headers")
    if has_compiler:
        (programs / "c++").symlink_to("/bin/sh")
    refusal = environment(clone, programs)
    assert (refusal.returncode, refusal.stdout) == (1, "")
    (line,) = refusal.stderr.splitlines()
    assert line.startswith("make: wordllama is not published for aarch64 and Python 3.")
    assert line.endswith("(Debian, Ubuntu: apt install build-essential python3-dev)")


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_what_has_to_be_built_is_said_and_built(clone: Path, machine: str) -> None:
    programs = built_environment(clone, machine=machine, headers=clone)
    (clone / "Python.h").touch()
    (programs / "c++").symlink_to("/bin/sh")
    done = environment(clone, programs)
    assert done.returncode == 0, done.stderr
    is_built = machine == "aarch64" or sys.version_info >= (3, 14)
    assert ("it is built from its source, with c++ and Python's headers" in done.stdout) is is_built
    assert "requirements-services.txt" in done.stdout


def test_what_a_lock_no_longer_has_is_removed_and_nothing_else(clone: Path) -> None:
    programs = built_environment(clone, machine="x86_64", headers=clone)
    (clone / "Python.h").touch()
    (programs / "c++").symlink_to("/bin/sh")
    assert " uninstall " not in environment(clone, programs, "development").stdout
    stamp = clone / ".venv" / "installed-development"
    assert "grpcio" in stamp.read_text().splitlines()
    stamp.write_text("gone\n" + stamp.read_text())
    again = environment(clone, programs).stdout
    assert "pip uninstall --disable-pip-version-check --yes gone\n" in again
    assert "requirements-development.txt" in again, "one environment has one lock"
    assert "gone" not in stamp.read_text().splitlines()
