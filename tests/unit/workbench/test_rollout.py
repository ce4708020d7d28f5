"""`vecsec policy shadow|promote|rollback|status`: what they write, what they refuse. The service reads it elsewhere."""

import json
import shutil
from pathlib import Path

import pytest
from support.cli_command import Command

from vecsec_policy.in_force.rollout import Rollout, read_rollout
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY


class Installation:
    """A state directory with a policy, and a candidate beside it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.policy = shutil.copytree(PACKAGED_POLICY, self.state / "policy")
        self.candidate = shutil.copytree(PACKAGED_POLICY, folder / "candidate")
        self.edit("tenant_new")
        self.command = Command({"COLUMNS": "200", "VECSEC_STATE_DIR": str(self.state)})

    def edit(self, tenant_id: str) -> None:
        path = self.candidate / "tenants.yaml"
        path.write_text(path.read_text() + f"\n  {tenant_id}:\n    topics: [rag]\n")

    def run(self, *arguments: str, exit_code: int = 0) -> str:
        return self.command("policy", *arguments, exit_code=exit_code).output

    @property
    def rollout(self) -> Rollout | None:
        return read_rollout(self.state / "rollout.json")

    def version(self, folder: Path | None = None) -> str:
        return load_snapshot(folder or self.policy).version


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_shadow_takes_a_copy_that_later_edits_do_not_touch(here: Installation) -> None:
    said = here.run("shadow", str(here.candidate), "--share", "0.25", "--tenant", "tenant_a")
    assert "in the shadow for 25% of the callers of tenant_a, and for nobody in earnest" in said
    version = here.version(here.candidate)
    rollout = here.rollout
    assert rollout is not None
    assert (rollout.shadow_share, rollout.shadow_tenants) == (0.25, {"tenant_a"})
    here.edit("tenant_later")
    assert here.version(rollout.candidate) == version == rollout.candidate.name
    here.run("shadow", str(here.candidate))
    assert here.rollout is not None
    assert here.rollout.candidate.name == here.version(here.candidate) != version


def test_promoting_adds_tenants_and_finally_makes_it_the_policy(here: Installation) -> None:
    before, candidate = here.version(), here.version(here.candidate)
    here.run("shadow", str(here.candidate))
    here.run("promote", "--tenant", "tenant_a")
    here.run("promote", "--tenant", "tenant_b")
    assert here.rollout is not None
    assert here.rollout.promoted_tenants == {"tenant_a", "tenant_b"}
    here.run("shadow", str(here.candidate), "--share", "0.5")
    assert here.rollout.promoted_tenants == {"tenant_a", "tenant_b"}, "who is promoted stays so"
    assert candidate[:12] in here.run("promote", "--all")
    assert here.rollout is None
    assert here.version() == candidate
    assert here.version(here.state / "policy.previous") == before
    here.run("rollback")
    assert here.version() == before
    here.run("rollback", exit_code=5)
    assert here.version() == before, "asked for again, in a hurry, it does not bring the new one back"
    assert here.version(here.state / "policy.rolled-back") == candidate


def test_rollback_ends_a_rollout_first(here: Installation) -> None:
    before = here.version()
    here.run("shadow", str(here.candidate))
    here.run("promote", "--tenant", "tenant_a")
    assert before[:12] in here.run("rollback")
    assert here.rollout is None
    assert here.version() == before
    assert not (here.state / "candidates").exists()


def test_another_candidate_cannot_slip_in_for_promoted_tenants(here: Installation) -> None:
    here.run("shadow", str(here.candidate))
    here.run("promote", "--tenant", "tenant_a")
    decided = here.rollout
    here.edit("tenant_later")
    assert "decides already: for tenant_a" in here.run("shadow", str(here.candidate), exit_code=2)
    assert here.rollout == decided


@pytest.mark.parametrize("arguments", [("promote", "--tenant", "tenant_x"), ("promote",)])
def test_what_makes_no_sense_is_refused(here: Installation, arguments: tuple[str, ...]) -> None:
    here.run("shadow", str(here.candidate))
    before = here.rollout
    here.run(*arguments, exit_code=2)
    assert here.rollout == before


def test_a_broken_candidate_is_refused_with_its_line(here: Installation) -> None:
    (here.candidate / "roles.yaml").write_text("roles: 3")
    assert "roles.yaml:1" in here.run("shadow", str(here.candidate), exit_code=2)
    assert here.rollout is None
    here.run("promote", "--all", exit_code=5)
    here.run("rollback", exit_code=5)


def test_status_reads_the_files_where_nothing_runs(here: Installation) -> None:
    here.run("shadow", str(here.candidate), "--share", "0.1")
    said = json.loads(here.command("policy", "status", "--json").stdout)
    assert said["service"] is None
    assert said["files"]["policy_version"] == here.version()
    assert said["files"]["candidate_version"] == here.version(here.candidate)
    assert said["files"]["shadow_share"] == 0.1
    (here.policy / "roles.yaml").write_text("roles: 3")
    assert "roles.yaml:1" in here.run("status")
