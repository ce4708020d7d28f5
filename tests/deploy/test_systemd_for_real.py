"""The units under a real systemd, as PID 1 of a container: they start, say so, come back, or stay down."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.docker_engine import DOCKER, ROOT, base_image, docker
from support.issuer import Issuer
from support.new_store import ANY_TIME
from support.waiting import wait_until

from vecsec_cli.checks.finding import CheckResult, CheckState
from vecsec_cli.checks.stacks.looking import check_stack
from vecsec_cli.checks.stacks.stack import Command, Done, Run
from vecsec_cli.checks.stacks.systemd import Systemd

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

SERVICES = ("gateway", "policy", "retrieval")
_DOCKERFILE = """
FROM {gateway} AS gateway
FROM {policy} AS policy
FROM {retrieval} AS retrieval
FROM {base}
COPY --from=retrieval /opt/vecsec /opt/vecsec
COPY --from=policy /opt/vecsec/source /opt/vecsec/source
COPY --from=gateway /opt/vecsec/source /opt/vecsec/source
COPY units /etc/systemd/system
COPY etc /etc/vecsec
RUN systemctl enable vecsec.target renew-vecsec-grant-key.path
ENV container=docker
ENTRYPOINT ["sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
"""
_FOR_CONTAINERS = """
[Service]
# Inside of a container the kernel does not let systemd map users once more; the rest of the sandbox is as it is.
PrivateUsers=no
"""
_NEW_KEY = """
from pathlib import Path
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

key = Path("/etc/vecsec/keys/grant.pem")
new = key.with_suffix(".new")
new.write_bytes(Ed25519PrivateKey.generate().private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
new.replace(key)
"""
_SYSTEMD_ANSWERS = ("systemctl", "show", "--property=Version")
_AS_PID_1 = (
    *(
        "--cap-add",
        "SYS_ADMIN",
        "--cap-add",
        "SYS_PTRACE",
        "--cgroupns",
        "private",
        "--security-opt",
        "seccomp=unconfined",
    ),
    *("--tmpfs", "/run", "--tmpfs", "/tmp", "--network", "none"),
)


@dataclass(frozen=True)
class Machine:
    """A container whose first process is systemd."""

    name: str
    host: str | None

    def run(self, *command: str) -> str:
        return docker("exec", self.name, *command, host=self.host)

    def state(self, service: str, what: str = "ActiveState") -> str:
        return self.run("systemctl", "show", "--value", f"--property={what}", f"vecsec-{service}.service")

    def until(self, service: str, state: str) -> None:
        wait_until(lambda: self.state(service) == state, lambda: self.log(service))

    def until_another_process(self, service: str, before: str) -> None:
        wait_until(lambda: self.state(service, "MainPID") not in {before, "0"}, lambda: self.log(service))

    def log(self, service: str) -> str:
        return self.run("journalctl", "--no-pager", "-n", "40", "-u", f"vecsec-{service}.service")


@pytest.fixture(scope="module")
def machine(images: dict[str, str], engine: str | None) -> Iterator[Machine]:
    host = engine
    with tempfile.TemporaryDirectory(prefix="vecsec-systemd-") as name:
        context = Path(name)
        shutil.copytree(ROOT / "deploy" / "systemd", context / "units", ignore=shutil.ignore_patterns("README.md"))
        (context / "units" / "vecsec-.service.d" / "90-container.conf").write_text(_FOR_CONTAINERS)
        issuer = Issuer(context / "etc" / "keys")
        for path in issuer.folder.iterdir():
            if path.suffix == ".json":
                shutil.copy(path, context / "etc")
        shutil.copytree(ROOT / "services" / "vecsec_policy" / "default_policy", context / "etc" / "policy")
        (context / "etc" / "flags.json").write_text('{"flags": {}}')
        (context / "etc" / "vecsec.env").write_text("PYTHONPATH=/opt/vecsec/source\n")
        (context / "etc" / "retrieval.env").write_text(f"VECSEC_NEW_STORE_UNTIL={ANY_TIME.isoformat()}\n")
        (context / "Dockerfile").write_text(_DOCKERFILE.format(base=base_image(host, extra=["systemd"]), **images))
        docker("build", "--tag", "vecsec-systemd:test", name, host=host)
        container = docker("run", "--detach", *_AS_PID_1, "vecsec-systemd:test", host=host)
        try:
            running = Machine(container, host)
            wait_until(lambda: not _fails(running, *_SYSTEMD_ANSWERS), lambda: "systemd does not answer")
            yield running
        finally:
            docker("rm", "--force", container, host=host)


def test_the_target_starts_all_three_and_they_serve(machine: Machine) -> None:
    for service in SERVICES:
        machine.until(service, "active")
        assert machine.state(service, "StatusErrno") == "0"
    python = (
        "/usr/bin/env",
        "PYTHONPATH=/opt/vecsec/source",
        "/opt/vecsec/bin/python",
        "-m",
        "vecsec_chassis.rpc.probe",
    )
    for part in ("", "vecsec.gateway.policy", "vecsec.gateway.retrieval"):
        probe = (*python, "127.0.0.1:50051", part)
        wait_until(lambda probe=probe: not _fails(machine, *probe), lambda part=part: part)


def _fails(machine: Machine, *command: str) -> bool:
    try:
        machine.run(*command)
    except RuntimeError:
        return True
    return False


def test_services_run_as_nobody_in_particular(machine: Machine) -> None:
    for service in SERVICES:
        pid = machine.state(service, "MainPID")
        status = machine.run("cat", f"/proc/{pid}/status")
        assert "Uid:\t0" not in status
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


def run_there(machine: Machine) -> Run:
    """Runs what the doctor wants in the container, as root."""

    def run(command: Command, text: str) -> Done:
        environment = [
            part for name, value in (command.environment or {}).items() for part in ("--env", f"{name}={value}")
        ]
        done = subprocess.run(
            [DOCKER, "exec", "--interactive", *environment, machine.name, *command.arguments],
            input=text,
            env=os.environ | ({"DOCKER_HOST": machine.host} if machine.host else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def doctor(machine: Machine) -> dict[str, CheckResult]:
    return {each.check: each for each in check_stack(Systemd("/opt/vecsec/bin/python"), run_there(machine))}


def test_the_doctor_sees_what_the_services_see(machine: Machine) -> None:
    for service in SERVICES:
        machine.until(service, "active")
    found = doctor(machine)
    assert not [each for each in found.values() if each.state is CheckState.FAIL]
    assert "/var/lib/vecsec-retrieval/chroma" in found["vecsec-retrieval: store's disk"].detail
    assert "as its user (0)" not in found["vecsec-policy: settings and files"].detail
    machine.run("sh", "-c", "chmod 700 /etc/vecsec/policy")  # root reads on, the service does not
    unreadable = doctor(machine)["vecsec-policy: settings and files"]
    machine.run("sh", "-c", "chmod 755 /etc/vecsec/policy")
    assert (unreadable.state, "/etc/vecsec/policy" in unreadable.detail) == (CheckState.FAIL, True)
    assert unreadable.remedy.endswith("systemctl restart vecsec-policy")


def test_one_name_restarts_all_three(machine: Machine) -> None:
    before = {service: machine.state(service, "MainPID") for service in SERVICES}
    assert "active (exited)" in machine.run("systemctl", "status", "--no-pager", "vecsec")
    machine.run("systemctl", "restart", "vecsec")
    for service in SERVICES:
        machine.until_another_process(service, before[service])
        machine.until(service, "active")


def test_a_service_that_dies_comes_back(machine: Machine) -> None:
    before = machine.state("retrieval", "MainPID")
    machine.run("systemctl", "kill", "--signal=KILL", "vecsec-retrieval.service")
    machine.until_another_process("retrieval", before)
    machine.until("retrieval", "active")


def test_a_changed_grant_key_reaches_the_policy_service(machine: Machine) -> None:
    before = machine.state("policy", "MainPID")
    python = ("/opt/vecsec/bin/python", "-c", _NEW_KEY)
    machine.run(*python)
    machine.until_another_process("policy", before)
    machine.until("policy", "active")


def test_a_wrong_setting_is_told_and_not_tried_again(machine: Machine) -> None:
    machine.run("sh", "-c", "echo VECSEC_GATEWAY_PORT=notaport > /etc/vecsec/gateway.env")
    with pytest.raises(RuntimeError):
        machine.run("systemctl", "restart", "vecsec-gateway.service")
    assert machine.state("gateway") == "failed"
    assert machine.state("gateway", "ExecMainStatus") == "78"
    found = doctor(machine)["vecsec-gateway"]
    assert "a setting is wrong; its last line: " in found.detail
    assert found.remedy == "correct it, then systemctl restart vecsec-gateway"
    assert "VECSEC_GATEWAY_PORT" in machine.log("gateway")
    machine.run("rm", "/etc/vecsec/gateway.env")
    machine.run("systemctl", "restart", "vecsec-gateway.service")
    machine.until("gateway", "active")


def test_stopping_the_target_stops_all_in_peace(machine: Machine) -> None:
    machine.run("systemctl", "stop", "vecsec.target")
    for service in SERVICES:
        machine.until(service, "inactive")
        assert machine.state(service, "Result") == "success"
