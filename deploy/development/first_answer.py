"""Measures the time from `pip install` to the first secured answer, with the SDK alone and with each framework.

    .venv/bin/vecsec up &
    export VECSEC_TOKEN=$(.venv/bin/vecsec token --tenant tenant_a --role analyst --clearance INTERNAL --subject alice)
    .venv/bin/python deploy/development/first_answer.py

For each it makes a new environment, installs the SDK's and its own distribution into it with pip, and runs the Python
block of its README. The first number says how fast the index is, too, or that pip had the packages already:
`--no-cache` leaves pip's cache out. The exit status is 1 if some block failed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_GATEWAY = "localhost:50051"
_SDK = "vecsec-client"


@dataclass(frozen=True)
class Measured:
    """What one took."""

    name: str
    install_seconds: float
    answer_seconds: float
    """From the start of Python, imports included."""
    mebibytes: int
    """Of the environment, with pip."""
    problem: str
    """Empty if there was an answer."""


def _program(readme: Path, gateway: str) -> str:
    """The Python block of a README, as its reader would type it."""
    (block,) = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    return str(block).replace(_GATEWAY, gateway)


def _measure(name: str, wanted: list[str], program: str, options: list[str]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
        python = f"{folder}/bin/python"
        begin = time.monotonic()
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options, *wanted]
        subprocess.run(command, check=True, cwd=_ROOT)  # noqa: S603
        installed = time.monotonic()
        environment = {**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False"}
        done = subprocess.run(  # noqa: S603
            [python, "-c", program], capture_output=True, text=True, check=False, cwd=folder, env=environment
        )
        answered = time.monotonic()
        size = sum(each.lstat().st_size for each in Path(folder).rglob("*")) >> 20
    return Measured(name, installed - begin, answered - installed, size, _problem(done))


def _problem(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no word"])[-1]
    return "nothing was found: are there documents?" if re.search(r"\[\]|\(\)", done.stdout) else ""


def main() -> int:
    """Measure all, and print a table."""
    parser = argparse.ArgumentParser(description="time from pip install to the first secured answer")
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders of clients/ to measure (default: all)")
    parser.add_argument("--gateway", default=_GATEWAY, help=f"host:port of the gateway (default {_GATEWAY})")
    parser.add_argument("--no-cache", action="store_true", help="have pip fetch everything anew")
    asked = parser.parse_args()
    if not os.environ.get("VECSEC_TOKEN"):
        parser.error("VECSEC_TOKEN is not set; see vecsec token --help")
    options = ["--no-cache-dir"] if asked.no_cache else []
    # The MCP server's has no program: an agent is one.
    readmes = sorted(each for each in (_ROOT / "clients").glob("*/README.md") if "```python" in each.read_text())
    if unknown := set(asked.names) - {each.parent.name for each in readmes}:
        parser.error(f"no distribution {', '.join(sorted(unknown))} in clients/")
    programs = {each.parent.name: _program(each, asked.gateway) for each in readmes}
    found = [
        _measure(name, [f"./clients/{each}" for each in dict.fromkeys((_SDK, name))], programs[name], options)
        for name in asked.names or programs
    ]
    print(f"{'':<34} {'install':>9} {'answer':>8} {'size':>8}")
    for each in found:
        size = f"{each.mebibytes:,} MiB"
        print(f"{each.name:<34} {each.install_seconds:>7.1f} s {each.answer_seconds:>6.1f} s {size:>8}  {each.problem}")
    return 1 if any(each.problem for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
