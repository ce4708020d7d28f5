"""`vecsec up --shards` and `vecsec shards`: tenants on several retrieval services of one machine."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.installation import free_ports, vecsec_command
from support.monitoring import ONLY_WITH_SHARDS
from support.waiting import COMMAND_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TENANTS = ("tenant_a", "tenant_b", "tenant_e", "tenant_g")
"""Each shard begins one of them; the first was there before there were shards."""


def _first_port() -> int:
    """Of thirty in a row: the ports of each further shard are ten above those of the one before."""
    blocks = [free_ports(10)[0]]
    while blocks[-1] - 20 not in blocks or blocks[-1] - 10 not in blocks:
        blocks.append(free_ports(10)[0])
    return blocks[-1] - 20


@dataclass
class Machine:
    """Where `vecsec up` is run."""

    folder: Path
    first_port: int = field(default_factory=_first_port)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "VECSEC_STATE_DIR": str(self.folder / "state"), "VECSEC_GATEWAY": self.gateway}

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.first_port}"

    def up_command(self, *options: str) -> list[str]:
        gateway, retrieval, policy, metrics = (str(self.first_port + number) for number in range(4))
        ports = ["--gateway-port", gateway, "--retrieval-port", retrieval, "--policy-port", policy]
        return [vecsec_command(), "up", "--no-demo", *ports, "--metrics-port", metrics, *options]

    def run(self, *arguments: str, token: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [vecsec_command(), *arguments],
            env={**self.environment, **({"VECSEC_TOKEN": token} if token else {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=check,
            timeout=COMMAND_SECONDS,
        )

    @contextmanager
    def up(self, *options: str) -> Iterator[None]:
        log = self.folder / "up.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.up_command(*options), stdout=output, stderr=output, cwd=self.folder, env=self.environment
            )
        try:
            wait_until(lambda: "\nready: " in log.read_text() or process.poll() is not None, log.read_text)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(COMMAND_SECONDS)

    def shards(self) -> list[dict[str, object]]:
        return json.loads(self.run("shards", "--json").stdout)["shards"]

    def admin(self, tenant_id: str) -> str:
        who = ("--tenant", tenant_id, "--role", "admin", "--clearance", "SECRET", "--subject", "loader")
        return self.run("token", *who).stdout.strip()

    def load(self, tenant_id: str) -> None:
        rows = self.folder / f"{tenant_id}.jsonl"
        row = {"id": f"of_{tenant_id}", "text": "a passage", "sensitivity": "PUBLIC", "topics": ["rag"]}
        rows.write_text(json.dumps(row) + "\n")
        self.run("import", str(rows), "--tenant", tenant_id, token=self.admin(tenant_id))

    def found(self, tenant_id: str) -> list[str]:
        done = self.run("search", "a", "--tenant", tenant_id, "--json", token=self.admin(tenant_id))
        return [each["document_id"] for each in json.loads(done.stdout)["results"]]


def test_shards_of_one_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with machine.up():
        machine.load("tenant_a")
        assert machine.run("shards", check=False).stderr == (
            f"error: there is no placement file {tmp_path}/state/placement.yaml: "
            "one retrieval service has all tenants\n"
            "hint:  start with `vecsec up --shards 2`, or name the services' placement with --placement\n"
        )
        tenants = tmp_path / "state" / "policy" / "tenants.yaml"
        more = "".join(f"  {tenant_id}:\n    topics: [rag]\n" for tenant_id in TENANTS[2:])
        tenants.write_text(tenants.read_text().rstrip() + "\n" + more)
    with machine.up("--shards", "3"):
        for tenant_id in TENANTS[1:]:
            machine.load(tenant_id)
        for tenant_id in TENANTS:
            assert machine.found(tenant_id) == [f"of_{tenant_id}"]
        shards = machine.shards()
        assert [each["shard"] for each in shards] == ["shard-0", "shard-1", "shard-2"]
        assert not [each["problem"] for each in shards if each["problem"]]
        assert sum(int(str(each["tenants"])) for each in shards) == len(TENANTS)
        assert sum(int(str(each["rows"])) for each in shards) == len(TENANTS)
        assert len([each for each in shards if each["tenants"]]) > 1
        table = machine.run("shards").stdout
        assert "epoch 1, 0 pinned tenants" in table
        doctor = machine.run("doctor", check=False).stdout
        assert "retrieval-2" in doctor
        with urllib.request.urlopen(f"http://127.0.0.1:{machine.first_port + 4}/metrics") as answer:
            shown = answer.read().decode()
        assert all(f"\n{metric} " in shown for metric in ONLY_WITH_SHARDS)
        placement = tmp_path / "state" / "placement.yaml"
        placement.write_text(placement.read_text().replace('"epoch": 1', '"epoch": 2'))
        wait_until(lambda: not [each for each in machine.shards() if each["problem"]])
    refused = subprocess.run(
        machine.up_command("--shards", "2"),
        env=machine.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.stderr == (
        f"error: --shards 2, but the state directory {tmp_path}/state has 3, which hold tenants\n"
        "hint:  start it with --shards 3, or leave the option out\n"
    )
    with machine.up():  # as many as before
        assert len(machine.shards()) == 3
        for tenant_id in TENANTS:
            assert machine.found(tenant_id) == [f"of_{tenant_id}"]
    done = machine.run("shards", check=False)
    assert done.returncode == 1
    assert done.stdout.count("no answer") == 3
