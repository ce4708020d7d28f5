"""Runs the tests with the newest versions that pyproject.toml's ranges allow, in `.venv-newest`.

`make test-newest` runs it; arguments are those of pytest. Last comes what differs from the lock, so that what broke can
be told from what is new. The exit status is that of pytest.
"""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

_ROOT = Path(__file__).parents[2]
_LOCK = Path(__file__).parent / "requirements-development.txt"
_ENVIRONMENT = _ROOT / ".venv-newest"
_OURS = frozenset(
    {
        "langchain-vecsec",
        "llama-index-vector-stores-vecsec",
        "mcp-server-vecsec",
        "vecsec",
        "vecsec-client",
        "vecsec-haystack",
    }
)


def locked(lock: str) -> dict[str, str]:
    """What a lock pins for this Python and machine."""
    lines = [line.removesuffix("\\") for line in lock.splitlines() if line and not line.startswith(("#", " "))]
    wanted = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in wanted}


def differences(pinned: dict[str, str], newest: dict[str, str]) -> list[tuple[str, str, str]]:
    """Package, locked and newest version, by name, where the two differ; "-" stands for a package that one has not."""
    both = sorted(pinned.keys() | newest.keys())
    rows = [(name, pinned.get(name, "-"), newest.get(name, "-")) for name in both]
    return [row for row in rows if row[1] != row[2]]


def _install() -> dict[str, str]:
    """Make the environment anew, with the interpreter that runs this; what is in it, but for what is ours."""
    uv = find_uv_bin()
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(_ENVIRONMENT)], check=True)  # noqa: S603
    command = [uv, "pip", "install", "--quiet", "--upgrade", "--python", str(_ENVIRONMENT)]
    # NLTK, which LlamaIndex brings, reads no file that has a second name.
    command += ["--link-mode", "copy", "--group", "build", "--editable", ".[services,dev]"]
    for name in sorted(_OURS - {"vecsec"}):
        command += ["--editable", f"./clients/{name}"]
    subprocess.run(command, check=True, cwd=_ROOT)  # noqa: S603
    (packages,) = _ENVIRONMENT.glob("lib/python*/site-packages")
    found = {canonicalize_name(each.name): each.version for each in distributions(path=[str(packages)])}
    return {name: version for name, version in found.items() if name not in _OURS}


def main() -> int:
    """Install, test, compare."""
    print("== installing the newest versions into .venv-newest", flush=True)
    newest = _install()
    status = subprocess.run([_ENVIRONMENT / "bin" / "pytest", *sys.argv[1:]], cwd=_ROOT, check=False).returncode  # noqa: S603
    rows = differences(locked(_LOCK.read_text()), newest)
    print(
        f"== {len(rows)} packages differ from the lock; make lock ARGS=--upgrade takes them" if rows else "== as locked"
    )
    for row in [("package", "locked", "newest"), *rows] if rows else []:
        print("  {:<44} {:<20} {}".format(*row))
    return status


if __name__ == "__main__":
    sys.exit(main())
