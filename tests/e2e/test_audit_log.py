"""A real installation whose policy service is killed in the middle: the audit log goes on, and nothing is lost."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.installation import Installation, running_installation, vecsec_command

pytestmark = pytest.mark.slow


def violations(installation: Installation, *options: str) -> dict[str, object]:
    root = installation.token("tenant_a", "admin", "SECRET", "root")
    command = ("violations", "--tenant", "tenant_a", "--json", *options)
    answer: dict[str, object] = json.loads(installation.run(*command, token=root).stdout)
    return answer


def test_counts_survive_a_killed_policy_service_and_the_log_can_be_verified(tmp_path: Path) -> None:
    with running_installation(tmp_path) as installation:
        alice = installation.token("tenant_a")
        refused = installation.run("search", "x", "--tenant", "tenant_b", token=alice, check=False)
        assert refused.returncode == 4
        before = violations(installation, "--list", "5")
        assert before["violations"]["cross_tenant_violation"] == 1  # type: ignore[index]
        services = json.loads((installation.state_dir / "run.json").read_text())["services"]
        os.kill(services["policy"]["pid"], signal.SIGKILL)
        installation.process.wait(60)  # `vecsec up` ends where one of its services does
    log = installation.state_dir / "audit" / "policy.jsonl"
    with log.open("ab") as file:
        file.write(b'{"replica":"torn by a crash')
    with running_installation(tmp_path) as installation:
        after = violations(installation, "--list", "5", "--type", "cross_tenant_violation", "--since", "1h")
        assert after["newest"] == before["newest"]
        verified = installation.run("audit", "verify")
        assert "bytes that a crash tore" in verified.stderr
        assert "whole: " in verified.stdout
        incident = before["newest"][0]["incident_id"]  # type: ignore[index]
        found = json.loads(installation.run("audit", "search", "--incident", incident, "--json").stdout)
        assert found["records"][0]["subject"] == "alice"
    log.write_text(log.read_text().replace('"subject":"alice"', '"subject":"malice"', 1))
    tampered = subprocess.run(
        [vecsec_command(), "audit", "verify", "--file", str(log)], check=False, capture_output=True, text=True
    )
    assert (tampered.returncode, "altered" in tampered.stdout) == (1, True)
