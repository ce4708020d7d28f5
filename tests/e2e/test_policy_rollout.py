"""Rules edited, rolled out and taken back under a running `vecsec up`, seen through the real gateway."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.installation import Installation, running_installation
from support.waiting import wait_until

pytestmark = pytest.mark.slow

ROWS = [
    {"id": "open", "text": "plans", "sensitivity": "PUBLIC", "topics": ["rag"]},
    {"id": "internal", "text": "plans", "sensitivity": "INTERNAL", "topics": ["rag"]},
]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("rollout")) as running:
        running.import_rows("tenant_a", ROWS)
        yield running


@pytest.fixture
def policy(installation: Installation) -> Iterator[Path]:
    """The installation's policy folder, which is as it was again afterwards."""
    folder = installation.state_dir / "policy"
    kept = shutil.copytree(folder, installation.folder / f"kept-{time.monotonic_ns()}")
    yield folder
    if folder.is_symlink():
        folder.unlink()
        kept.rename(folder)
    else:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    wait_until(lambda: seen(installation) == ["internal", "open"])


def seen(installation: Installation) -> list[str]:
    answer = installation.search(installation.token("tenant_a"), "tenant_a", "plans", 10)
    return sorted(row["document_id"] for row in answer["results"])


def bind_analysts(folder: Path) -> None:
    """Let analysts read PUBLIC rows only."""
    roles = folder / "roles.yaml"
    roles.write_text(re.sub("max_clearance: INTERNAL", "max_clearance: PUBLIC", roles.read_text()))


def status(installation: Installation, *options: str) -> dict[str, Any]:
    token = installation.token("tenant_a", "superuser", "CONFIDENTIAL")
    return json.loads(installation.run("policy", "status", "--json", *options, token=token).stdout)


def test_an_edited_file_is_in_force(installation: Installation, policy: Path) -> None:
    assert seen(installation) == ["internal", "open"]
    bind_analysts(policy)
    wait_until(lambda: seen(installation) == ["open"])


def test_a_folder_swapped_by_a_symlink_is_in_force(installation: Installation, policy: Path) -> None:
    elsewhere = shutil.copytree(policy, installation.folder / "elsewhere")
    bind_analysts(elsewhere)
    policy.rename(policy.with_name("moved-away"))
    policy.symlink_to(elsewhere)
    wait_until(lambda: seen(installation) == ["open"])


def test_a_broken_file_changes_nothing_and_doctor_says_so(installation: Installation, policy: Path) -> None:
    (policy / "access.cedar").write_text("permit (principal, action, resource);")

    def doctor() -> dict[str, Any]:
        findings = json.loads(installation.run("doctor", "--json", check=False).stdout)["checks"]
        return next(finding for finding in findings if finding["check"] == "policy" and "serves" in finding["detail"])

    wait_until(lambda: doctor()["state"] == "warn")
    assert seen(installation) == ["internal", "open"]
    assert status(installation)["service"]["reload_failing"] == ["policy"]


def test_a_candidate_goes_all_the_way_and_back(installation: Installation, policy: Path, tmp_path: Path) -> None:
    candidate = shutil.copytree(policy, tmp_path / "candidate")
    bind_analysts(candidate)
    before = status(installation)["service"]["policy_version"]
    installation.run("policy", "shadow", str(candidate))
    wait_until(lambda: bool(status(installation)["service"]["candidate_version"]))
    assert seen(installation) == ["internal", "open"], "in the shadow it decides nothing"
    wait_until(lambda: status(installation, "--tenant", "tenant_a")["tenants"]["tenant_a"]["rows_lost"] > 0)

    installation.run("policy", "promote", "--tenant", "tenant_a")
    wait_until(lambda: seen(installation) == ["open"])
    told = status(installation, "--tenant", "tenant_a")
    assert told["tenants"]["tenant_a"]["is_promoted"]
    assert told["tenants"]["tenant_a"]["policy_version"] == told["files"]["candidate_version"] != before

    installation.run("policy", "promote", "--all")
    wait_until(lambda: status(installation)["service"]["policy_version"] == told["files"]["candidate_version"])
    assert seen(installation) == ["open"]

    installation.run("policy", "rollback")
    wait_until(lambda: seen(installation) == ["internal", "open"])
    assert status(installation)["service"]["policy_version"] == before
