"""Writes `requirements-<service>.txt`: what each image installs, pinned and with hashes, from pyproject.toml's extras.

`python deploy/images/lock.py` needs uv and a package index; pins that still fit stay, `--upgrade` takes newer ones. The
files name no index. A test compares their first line with pyproject.toml and says when this was forgotten.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

_HERE = Path(__file__).parent
_PROJECT = _HERE.parent.parent / "pyproject.toml"
SERVICES = ("gateway", "policy", "retrieval")


def lock_file(service: str) -> Path:
    """The lock of a service."""
    return _HERE / f"requirements-{service}.txt"


def wanted(service: str) -> list[str]:
    """What pyproject.toml wants for a service, its shared extras included."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    found: list[str] = list(project["dependencies"])
    extras = [service]
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            if requirement.startswith("vecsec["):
                extras += requirement.removeprefix("vecsec[").removesuffix("]").split(",")
            else:
                found.append(requirement)
    return sorted(found)


def fingerprint(service: str) -> str:
    """The first line of a lock that is current."""
    digest = hashlib.sha256(json.dumps(wanted(service)).encode()).hexdigest()
    return f"# For the requirements of pyproject.toml with the digest {digest[:16]}. Made by deploy/images/lock.py.\n"


def main() -> None:
    """Write the locks."""
    for service in SERVICES:
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-header", "--no-annotate", "--extra", service, *sys.argv[1:]]
        subprocess.run([*command, "--output-file", str(lock_file(service)), str(_PROJECT)], check=True)  # noqa: S603
        lock_file(service).write_text(fingerprint(service) + lock_file(service).read_text())


if __name__ == "__main__":
    main()
