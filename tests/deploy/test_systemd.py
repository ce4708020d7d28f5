"""The systemd units: systemd itself finds no fault, the sandbox is tight, and settings and modules exist."""

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.parts import find_program
from support.waiting import COMMAND_SECONDS

from vecsec_chassis.process.starting import EXIT_CANNOT_START
from vecsec_chassis.settings import ServiceSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

pytestmark = pytest.mark.systemd

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "policy": PolicySettings,
    "retrieval": RetrievalSettings,
}
MOST_EXPOSURE = 2.0
"""On systemd's scale of 0 (locked away) to 10 (may do anything); below 2 it says OK."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root directory with the units installed as the README says."""
    installed = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, installed)
    # Units of systemd's own that ours are ordered by, and the programs that they start.
    for name in (
        "paths.target",
        "multi-user.target",
        "network-online.target",
        "sysinit.target",
        "basic.target",
        "shutdown.target",
    ):
        (installed / name).write_text("[Unit]\n")
    for program in (tmp_path / "opt" / "vecsec" / "bin" / "python", tmp_path / "usr" / "bin" / "systemctl"):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def analyze(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = find_program("systemd-analyze")
    assert program is not None
    command = [program, f"--root={machine}", *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=COMMAND_SECONDS)


def test_systemd_finds_no_fault(machine: Path) -> None:
    units = ("vecsec.target", "renew-vecsec-grant-key.path", "renew-vecsec-grant-key.service")
    done = analyze(machine, "verify", "--man=no", "--recursive-errors=yes", *units)
    complaints = [line for line in done.stderr.splitlines() if "vecsec" in line]
    assert not complaints
    broken = machine / "etc" / "systemd" / "system" / "vecsec-gateway.service"
    broken.write_text(broken.read_text().replace("[Service]", "[Service]\nRestat=always"))
    assert "Restat" in analyze(machine, "verify", "--man=no", "vecsec-gateway.service").stderr


@pytest.mark.parametrize("service", SETTINGS)
def test_the_sandbox_is_tight(machine: Path, service: str) -> None:
    done = analyze(machine, "security", "--offline=true", "--no-pager", f"vecsec-{service}.service")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) < MOST_EXPOSURE, done.stdout


@pytest.mark.parametrize("service", SETTINGS)
def test_settings_and_modules_exist(service: str) -> None:
    lines = (UNITS / f"vecsec-{service}.service").read_text().splitlines()
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert importlib.util.find_spec(start.rpartition(" ")[2]) is not None
    environment = dict(
        line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment=")
    )
    kind = SETTINGS[service]
    assert set(environment) <= {field.alias for field in kind.model_fields.values()}
    kind.model_validate(environment)
    in_state_directory = {value for value in environment.values() if value.startswith("%S/")}
    assert {value.split("/")[1] for value in in_state_directory} <= {f"vecsec-{service}"}
    assert bool(in_state_directory) is (f"StateDirectory=vecsec-{service}" in lines)


def test_a_wrong_setting_is_not_tried_again_and_the_end_is_waited_for() -> None:
    life = configparser.ConfigParser(interpolation=None)
    life.optionxform = str  # type: ignore[assignment,method-assign]
    life.read(UNITS / "vecsec-.service.d" / "10-life.conf")
    assert int(life["Service"]["RestartPreventExitStatus"]) == EXIT_CANNOT_START
    grace = ServiceSettings.model_fields["shutdown_grace_seconds"].default
    assert float(life["Service"]["TimeoutStopSec"]) >= grace + 10
    assert life["Service"]["Type"] == "notify"


def test_the_readme_names_every_file() -> None:
    readme = (UNITS / "README.md").read_text()
    texts = "".join(path.read_text() for path in UNITS.glob("*.service"))
    for name in set(re.findall(r"/etc/vecsec/([\w./]+)", texts)):
        assert name in readme or f"{name}/" in readme, json.dumps(name)
