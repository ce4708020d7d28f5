"""`vecsec up` as a process: it says when it is ready, and leaves nothing behind however it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import Authority
from support.installation import free_ports, vecsec_command
from support.waiting import COMMAND_SECONDS, PATIENCE_SECONDS, wait_until

from vecsec_client import MockReason, VecSecClient

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Up:
    """A `vecsec up` and what it prints."""

    process: subprocess.Popen[bytes]
    output_file: Path
    state: Path
    arguments: list[str]

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def service_pids(self) -> dict[str, int]:
        services = json.loads((self.state / "run.json").read_text())["services"]
        return {name: service["pid"] for name, service in services.items()}

    def until_ready(self) -> None:
        wait_until(lambda: "\nready: gateway " in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.output


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked after yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return sys.platform != "linux"


@contextmanager
def started(folder: Path, *options: str, **environment: str) -> Iterator[Up]:
    gateway, retrieval, policy, metrics, *_ = (str(port) for port in free_ports(6))
    state = folder / "state"
    arguments = ["up", "--state-dir", str(state), "--gateway-port", gateway, "--retrieval-port", retrieval]
    arguments += ["--policy-port", policy, "--metrics-port", metrics]
    output_file = folder / "up.out"
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            [vecsec_command(), *arguments, *options],
            stdout=output,
            stderr=output,
            cwd=folder,
            env=os.environ | environment,
        )
    try:
        yield Up(process, output_file, state, arguments)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_services_and_the_status_is_0(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()
        pids = up.service_pids()
        assert all(lives(pid) for pid in pids.values())
        up.process.send_signal(number)
        assert up.process.wait(PATIENCE_SECONDS) == 0
    assert up.output.endswith("stopping: gateway, retrieval, policy\nstopped\n")
    assert not any(lives(pid) for pid in pids.values())
    assert not (up.state / "run.json").exists()


@pytest.mark.parametrize("victim", ["policy", "gateway"])
def test_a_service_that_dies_ends_the_others_and_its_log_is_shown(tmp_path: Path, victim: str) -> None:
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()
        pids = up.service_pids()
        os.kill(pids[victim], signal.SIGKILL)
        assert up.process.wait(PATIENCE_SECONDS) == 6
    assert f"error: the {victim} service was killed by SIGKILL" in up.output
    assert f"  {victim} | " in up.output
    assert not any(lives(pid) for pid in pids.values())


def test_a_retrieval_that_hangs_is_left_alone_also_by_hurried_callers(tmp_path: Path) -> None:
    """Its process is stopped: connections stand, nothing is answered. No caller gives it the time of a whole try."""
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()
        pids = up.service_pids()
        address = json.loads((up.state / "run.json").read_text())["services"]["gateway"]["address"]
        asking = [vecsec_command(), "token", "--tenant", "tenant_a", "--role", "analyst", "--clearance", "INTERNAL"]
        asking += ["--subject", "alice", "--state-dir", str(up.state)]
        token = subprocess.run(
            asking, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
        ).stdout.strip()
        os.kill(pids["retrieval"], signal.SIGSTOP)
        try:
            with VecSecClient(address, token=token, default_tenant="tenant_a", allow_mock=True, timeout=4.0) as client:
                reasons: list[MockReason | None] = []

                def is_left_alone() -> bool:
                    reasons.append(client.search("the plan").mock_reason)
                    return reasons[-1] is MockReason.CIRCUIT_OPEN

                wait_until(is_left_alone, lambda: reasons)
        finally:
            os.kill(pids["retrieval"], signal.SIGCONT)
    assert reasons[0] is MockReason.RETRIEVAL_FAILED


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_services_do_not_outlive_an_up_that_was_killed(tmp_path: Path) -> None:
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()
        pids = up.service_pids()
        up.process.kill()
        up.process.wait(PATIENCE_SECONDS)
        wait_until(lambda: not any(lives(pid) for pid in pids.values()))
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()


def test_a_second_up_on_the_same_state_directory_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, "--no-demo") as up:
        up.until_ready()
        second = subprocess.run(
            [vecsec_command(), *up.arguments], capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
        )
        assert second.returncode == 2
        assert f"another `vecsec up` (process {up.process.pid}) is running" in second.stderr
        assert up.process.poll() is None


def test_broken_rules_are_one_line(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    with started(tmp_path, "--no-demo", VECSEC_POLICY_DIR=str(rules)) as up:
        assert up.process.wait(PATIENCE_SECONDS) == 2
    assert "error: cannot start: vecsec policy: " in up.output
    assert str(rules) in up.output


@pytest.mark.timeout(900)
def test_the_demonstration_imports_once_and_shows_who_sees_what(tmp_path: Path) -> None:
    with started(tmp_path, COLUMNS="160") as up:
        wait_until(lambda: "\nready: " in up.output or up.process.poll() is not None, seconds=300)
        first = up.output
    assert "imported " in first
    assert "python_core" in first
    assert "above the clearance PUBLIC" in first
    assert "is outside the tenant's scope" in first
    assert "refused: PERMISSION_DENIED ACCESS_DENIED" in first
    assert "the demonstration stopped" not in first
    with started(tmp_path, COLUMNS="160") as up:
        up.until_ready()
        second = up.output
    assert "the corpora are already imported" in second
    assert second.count("searches") == first.count("searches")


def test_with_tls_everything_speaks_tls_and_the_doctor_knows_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    settings = {name: str(path) for name, path in authority.settings("gateway").items()}
    with started(tmp_path, "--no-demo", **settings) as up:
        up.until_ready()

        def vecsec(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [vecsec_command(), *arguments],
                env=os.environ | settings | {"VECSEC_STATE_DIR": str(up.state)} | environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )

        token = vecsec(
            "token", "--tenant", "tenant_a", "--role", "analyst", "--clearance", "INTERNAL", "--subject", "alice"
        ).stdout.strip()
        search = ("collections", "--tenant", "tenant_a", "--json")
        done = vecsec(*search, VECSEC_TOKEN=token)
        assert done.returncode == 0, done.stderr
        stranger = vecsec(*search, "--timeout", "2", VECSEC_TOKEN=token, VECSEC_TLS_CA_FILE="")
        assert stranger.returncode != 0
        checks = json.loads(vecsec("doctor", "--json").stdout)["checks"]
        found = {(each["check"], each["state"]) for each in checks}
        assert found >= {(name, "ok") for name in ("certificates", "gateway", "retrieval", "policy")}
        authority.renew("gateway", days=3)
        key = Path(settings["VECSEC_TLS_KEY_FILE"])
        key.write_bytes(authority.issue("other").key)
        doctor = vecsec("doctor", "--json")
        found = json.loads(doctor.stdout)["checks"]
        assert doctor.returncode != 0
        assert {each["state"] for each in found if each["check"] == "certificates"} == {"warn", "ok"}
        failures = [each for each in found if each["state"] == "fail"]
        assert any("not the key of the certificate" in each["detail"] and each["remedy"] for each in failures), failures
