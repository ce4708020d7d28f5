"""Writes every lock of the project: what is installed by make, by the images and for the tests, pinned and with hashes.

`make lock` runs it. Pins that still fit pyproject.toml stay; `make lock ARGS=--upgrade` takes newer ones, and
`make lock ARGS="--upgrade-package NAME"` one newer one. The locks name no index, and hold for every Python from 3.11 on
and every platform. A test compares their first line with pyproject.toml and says when this was forgotten.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_SDK = tomllib.loads((_ROOT / "clients" / "vecsec-client" / "pyproject.toml").read_text())
_SDK_PIN = f"vecsec-client=={_SDK['project']['version']}"


@dataclass(frozen=True)
class Lock:
    """A lock file, and what of pyproject.toml it is for."""

    folder: str
    name: str
    extras: tuple[str, ...] = ()
    """Of the project, with what it needs itself."""
    groups: tuple[str, ...] = ()
    """By themselves; with `build` comes the project's own build backend."""
    alone: bool = False
    """Whether only files of the packages are wanted, and nothing that they in turn require."""

    @property
    def path(self) -> Path:
        """The file."""
        return _ROOT / "deploy" / self.folder / f"requirements-{self.name}.txt"

    @property
    def wanted(self) -> list[str]:
        """The requirements of pyproject.toml that it answers; extras of the project, and its SDK, are followed."""
        found = _base() if self.extras else []
        for group in self.groups:
            found += _PROJECT["dependency-groups"][group]
            found += _PROJECT["build-system"]["requires"] if group == "build" else []
        extras = list(self.extras)
        for extra in extras:
            for requirement in _PROJECT["project"]["optional-dependencies"][extra]:
                if requirement.startswith("vecsec["):
                    extras += requirement.removeprefix("vecsec[").removesuffix("]").split(",")
                else:
                    found.append(requirement)
        return sorted(found)

    @property
    def fingerprint(self) -> str:
        """The first line of a lock that is current."""
        digest = hashlib.sha256(json.dumps(self.wanted).encode()).hexdigest()
        return f"# For the requirements of pyproject.toml with the digest {digest[:16]}. Made by `make lock`.\n"


def _base() -> list[str]:
    """What the base install needs of others: the SDK is a distribution of this checkout."""
    wanted = {*_PROJECT["project"]["dependencies"], *_SDK["project"]["dependencies"]}
    return sorted(wanted - {_SDK_PIN})


DEVELOPMENT = Lock("development", "development", extras=("services", "dev"), groups=("build",))
PARTS = (
    Lock("development", "build", groups=("build",)),
    Lock("development", "services", extras=("services",)),
    *(Lock("images", service, extras=(service,)) for service in ("gateway", "policy", "retrieval")),
)
"""What is part of the development lock, and has its versions."""
TOOLS = (
    Lock("development", "checkov", groups=("checkov",)),
    Lock("development", "kubectl", groups=("kubectl",), alone=True),
)
LOCKS = (DEVELOPMENT, *PARTS, *TOOLS)


def compile_lock(lock: Lock, options: list[str]) -> None:
    """Write a lock; `options` are further ones of `uv pip compile`."""
    command = [find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
    command += [*(["--no-deps"] if lock.alone else []), *options, "--output-file", str(lock.path), "-"]
    subprocess.run(command, check=True, text=True, input="\n".join(lock.wanted), cwd=_ROOT)  # noqa: S603
    lock.path.write_text(lock.fingerprint + lock.path.read_text())


def main() -> None:
    """Write the locks."""
    options = sys.argv[1:]
    compile_lock(DEVELOPMENT, options)
    for part in PARTS:
        compile_lock(part, ["--constraint", str(DEVELOPMENT.path), *options])
    for tool in TOOLS:
        compile_lock(tool, options)


if __name__ == "__main__":
    main()
