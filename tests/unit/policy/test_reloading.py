"""Live reload: a change that is right is taken, one that is wrong changes nothing, half of one is never taken."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.file_watch import Fingerprint, folder_fingerprint
from vecsec_policy.folder.principals import Caller
from vecsec_policy.in_force.evaluation import decide_entry
from vecsec_policy.in_force.snapshot import CheckedPolicy, load_snapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload import candidate_worker, reloading
from vecsec_policy.reload.candidate_check import check_in_worker
from vecsec_policy.reload.orphaned_attributes import OrphanGuard
from vecsec_policy.reload.recent_plans import PlanRequest, RecentPlans
from vecsec_policy.reload.reloading import PolicyReload, WatchedPolicy, WatchedRollout
from vecsec_policy.reload.report import ReloadReport

WIDER = "\n  tenant_new:\n    topics: [rag]\n"


class Watched:
    """A policy folder that is watched, and what the service would hold."""

    def __init__(self, folder: Path, metrics: PolicyMetrics, rollout: Path | None = None) -> None:
        self.folder = folder
        self.report = ReloadReport(metrics)
        self.guard = OrphanGuard()
        self.recent = RecentPlans()
        policy = WatchedPolicy(folder, self.report, self.recent)
        self.reload = PolicyReload(policy, WatchedRollout(rollout, self.report, self.recent), self.guard)

    @property
    def version(self) -> str:
        return self.reload.in_force.assignment.current.version

    @property
    def candidate_version(self) -> str | None:
        candidate = self.reload.in_force.assignment.candidate
        return candidate.policy.version if candidate is not None else None

    async def look(self, times: int = 4) -> None:
        for _ in range(times):
            await self.reload.look()

    def add_tenant(self) -> None:
        path = self.folder / "tenants.yaml"
        path.write_text(path.read_text() + WIDER)


@pytest.fixture
def watched(folder: Path, metrics: PolicyMetrics) -> Watched:
    return Watched(folder, metrics)


async def test_a_change_is_taken_when_it_has_come_to_rest(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    before = watched.version
    watched.add_tenant()

    def fingerprint_while_saving(folder: Path, suffixes: tuple[str, ...]) -> Fingerprint:
        (folder / "roles.yaml").touch()
        return folder_fingerprint(folder, suffixes)

    with monkeypatch.context() as saving:
        saving.setattr(reloading, "folder_fingerprint", fingerprint_while_saving)
        await watched.look(1)
        assert watched.version == before, "somebody is still saving files"
    await watched.look()
    assert watched.version == load_snapshot(watched.folder).version != before
    assert "tenant_new" in watched.reload.in_force.assignment.policy_for("tenant_new").tenants


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("access.cedar", b"permit (principal, action", r"access\.cedar:1: "),
        ("access.cedar", b"permit (principal, action, resource) when { " + b"(" * 10_000, "nested more than"),
        ("roles.yaml", b"roles:\n  guest: {}\n", r"roles\.yaml:2: .*lacks operations"),
        ("roles.yaml", b"roles: " + b"[" * 20_000, r"roles\.yaml:1: nested more than 50 deep"),
        ("tenants.yaml", b"tenants:\n  a: {topics: [\xff]}\n", r"tenants\.yaml:2: not UTF-8"),
        ("tenants.yaml", b"#" * (9 << 20), r"tenants\.yaml: larger than 8 MiB"),
        ("schema.cedarschema", b"entity A = {", r"schema\.cedarschema: "),
    ],
)
async def test_what_is_wrong_changes_nothing_and_is_told_once(
    watched: Watched, file: str, content: bytes, complaint: str
) -> None:
    before = watched.version
    good = (watched.folder / file).read_bytes()
    with capture_logs() as logs:
        (watched.folder / file).write_bytes(content)
        await watched.look()
        os.utime(watched.folder / file)
        await watched.look()
    assert watched.version == before
    assert watched.report.is_failing
    (line,) = logs
    assert re.search(complaint, line["reason"]), line
    (watched.folder / file).write_bytes(good)
    await watched.look()
    assert watched.version == before
    assert not watched.report.is_failing


async def test_a_folder_that_is_gone_changes_nothing(watched: Watched) -> None:
    before = watched.version
    shutil.move(watched.folder, watched.folder.with_name("elsewhere"))
    await watched.look()
    assert watched.version == before
    assert watched.report.is_failing


async def test_symlinks_swapped_as_kubernetes_does_are_seen(
    tmp_path: Path, folder: Path, metrics: PolicyMetrics
) -> None:
    mount = tmp_path / "mount"
    first, second = mount / "..first", mount / "..second"
    shutil.copytree(folder, first)
    (mount / "..data").symlink_to(first.name)
    for file in folder.iterdir():
        (mount / file.name).symlink_to(f"..data/{file.name}")
    watched = Watched(mount, metrics)
    shutil.copytree(folder, second)
    tenants = second / "tenants.yaml"
    tenants.write_text(tenants.read_text() + WIDER)
    (mount / "..next").symlink_to(second.name)
    (mount / "..next").replace(mount / "..data")
    shutil.rmtree(first)
    await watched.look()
    assert "tenant_new" in watched.reload.in_force.assignment.policy_for("tenant_new").tenants


async def test_a_file_of_the_same_size_and_age_is_seen(watched: Watched) -> None:
    before, path = watched.version, watched.folder / "tenants.yaml"
    status = path.stat()
    path.write_text(path.read_text().replace("marketing", "gardening"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    await watched.look()
    assert watched.version != before


async def test_what_changes_while_it_is_read_is_read_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried_while_somebody_saves(folder: Path, asked: Sequence[PlanRequest]) -> object:
        policy = await check_in_worker(folder, asked)
        monkeypatch.undo()
        watched.add_tenant()
        return policy

    before = watched.version
    path = watched.folder / "access.cedar"
    path.write_text(path.read_text() + "\n// half of a change\n")
    half = load_snapshot(watched.folder).version
    monkeypatch.setattr("vecsec_policy.reload.reloading.check_in_worker", tried_while_somebody_saves)
    versions = set()
    for _ in range(8):
        await watched.look(1)
        versions.add(watched.version)
    assert versions == {before, load_snapshot(watched.folder).version}
    assert half not in versions


@pytest.fixture
def listeners(watched: Watched) -> list[str]:
    heard: list[str] = []

    def hear() -> None:
        heard.append(watched.version)

    watched.reload.in_force.on_change(hear)
    return heard


async def test_only_another_version_is_put_in_force(watched: Watched, listeners: list[str]) -> None:
    os.utime(watched.folder / "tenants.yaml")
    await watched.look()
    assert listeners == []
    watched.add_tenant()
    await watched.look()
    assert listeners == [watched.version]


async def test_a_schema_that_orphans_rows_is_refused_until_that_is_said(watched: Watched) -> None:
    before, path = watched.version, watched.folder / "schema.cedarschema"
    watched.guard.carried = {("region", str): "north"}
    path.write_text(path.read_text().replace("  region?: String,\n", ""))
    with capture_logs() as logs:
        await watched.look()
    assert watched.version == before
    assert "rows carry the attribute 'region'" in logs[0]["reason"]
    path.write_text(path.read_text() + "\n// retired: region\n")
    await watched.look()
    assert watched.version == load_snapshot(watched.folder).version != before


async def test_an_attribute_that_no_row_carries_may_go(watched: Watched) -> None:
    before, path = watched.version, watched.folder / "schema.cedarschema"
    watched.guard.carried = {("owner", str): "alice"}
    path.write_text(path.read_text().replace("  region?: String,\n", ""))
    await watched.look()
    assert watched.version != before


async def test_what_was_planned_lately_is_planned_by_the_new_rules_before_they_are_in_force(watched: Watched) -> None:
    current = watched.reload.in_force.assignment.current
    for tenant_id, role in (("tenant_a", "analyst"), ("tenant_b", "analyst"), ("tenant_b", "guest")):
        asker = Identity("alice", tenant_id, role, Sensitivity.SECRET, "issuer", 0.0)
        watched.recent.note(decide_entry(current, asker, tenant_id, Action.READ, now=0.0))
    roles = watched.folder / "roles.yaml"
    roles.write_text(roles.read_text().replace("max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL", 1))
    tenants = watched.folder / "tenants.yaml"
    tenants.write_text(tenants.read_text().replace("  tenant_a:", "  tenant_renamed:"))
    await watched.look()
    changed = watched.reload.in_force.assignment.current
    analyst, tenant = changed.roles["analyst"], changed.tenants["tenant_b"]
    assert analyst != current.roles["analyst"]
    caller = Caller("bob", tenant, analyst, analyst.max_clearance)
    ready = changed.engine.cached_plan(caller, tenant, Action.READ)
    assert ready == load_snapshot(watched.folder).engine.plan(caller, tenant, Action.READ)
    as_before = Caller("bob", tenant, current.roles["analyst"], current.roles["analyst"].max_clearance)
    assert ready != current.engine.plan(as_before, tenant, Action.READ)
    assert changed.engine.cached_plan(caller, tenant, Action.DELETE) is None, "nobody asked for that"


async def test_what_followed_from_the_old_rules_is_let_go_of(watched: Watched) -> None:
    remembered = dict.fromkeys(range(2500), "by the old rules")
    watched.reload.in_force.on_change(lambda: remembered)
    watched.add_tenant()
    await watched.look()
    assert remembered == {}


def test_a_trials_outcome_arrives_as_it_was_sent(folder: Path) -> None:
    (folder / "tenants.yaml").write_text(
        "tenants:\n" + "".join(f"  t{number}: {{topics: [rag]}}\n" for number in range(400))
    )
    (folder / "memberships.yaml").write_text(
        "tenants: {t0: {finance: {people: [alice], groups: [audit]}, audit: {people: [bob]}}}\n"
    )
    outcome = candidate_worker.check(folder)
    assert isinstance(outcome, CheckedPolicy)
    assert outcome.plans
    assert all(getattr(outcome.memberships, each.name) for each in fields(outcome.memberships))
    assert candidate_worker.read_outcome(candidate_worker.outcome_as_bytes(outcome)) == outcome
    assert candidate_worker.read_outcome(candidate_worker.outcome_as_bytes("a complaint")) == "a complaint"


async def test_what_kills_the_parser_kills_the_trial_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ConfigurationError, match="checking it failed: status 1"):
        await check_in_worker(folder)
    script = folder.parent / "python"
    script.write_text("#!/bin/sh\nkill -SEGV $$\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    with pytest.raises(ConfigurationError, match=r"SIGSEGV"):
        await check_in_worker(folder)


async def test_a_trial_that_came_to_no_verdict_is_held_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    before = watched.version
    monkeypatch.setattr("vecsec_policy.reload.reloading._SECONDS_UNTIL_RETRY", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere/python")
        watched.add_tenant()
        await watched.look()
    assert watched.version == before
    assert watched.report.is_failing
    await watched.look()
    assert watched.version == load_snapshot(watched.folder).version != before
    assert not watched.report.is_failing


class RolledOut(Watched):
    """A watched folder beside a watched rollout file."""

    def __init__(self, folder: Path, metrics: PolicyMetrics, *, promoted: str = "") -> None:
        self.next = folder.with_name("next")
        shutil.copytree(folder, self.next)
        (self.next / "tenants.yaml").write_text((self.next / "tenants.yaml").read_text() + WIDER)
        self.file = folder.with_name("rollout.yaml")
        if promoted:
            self.write(promoted)
        super().__init__(folder, metrics, self.file)

    def write(self, promoted: str = "", candidate: str = "next") -> None:
        self.file.write_text(f"candidate: {candidate}\nshadow: {{share: 1}}\npromoted: {{tenants: [{promoted}]}}\n")

    def policy_for(self, tenant_id: str) -> str:
        return self.reload.in_force.assignment.policy_for(tenant_id).version


async def test_a_candidate_comes_is_promoted_and_goes(folder: Path, metrics: PolicyMetrics) -> None:
    watched = RolledOut(folder, metrics)
    assert watched.candidate_version is None
    watched.write()
    await watched.look(6)
    candidate = load_snapshot(watched.next).version
    assert watched.candidate_version == candidate
    assert watched.policy_for("tenant_a") == watched.version != candidate
    watched.write(promoted="tenant_a")
    await watched.look()
    assert (watched.policy_for("tenant_a"), watched.policy_for("tenant_b")) == (candidate, watched.version)
    watched.file.unlink()
    await watched.look()
    assert watched.candidate_version is None
    assert watched.policy_for("tenant_a") == watched.version


async def test_a_candidate_that_becomes_the_policy_is_not_tried_again(
    folder: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = RolledOut(folder, metrics, promoted="tenant_a")
    candidate = watched.candidate_version
    monkeypatch.setattr("sys.executable", "/bin/false")
    shutil.copytree(watched.next, watched.folder, dirs_exist_ok=True)
    watched.file.unlink()
    versions = set()
    for _ in range(4):
        await watched.look(1)
        versions.add(watched.policy_for("tenant_a"))
    assert versions == {candidate}, "who was promoted never falls back to the old rules on the way"
    assert watched.version == candidate
    assert watched.candidate_version is None
    assert not watched.report.is_failing


async def test_a_candidate_that_breaks_stays_as_it_was(folder: Path, metrics: PolicyMetrics) -> None:
    watched = RolledOut(folder, metrics, promoted="tenant_a")
    candidate = watched.candidate_version
    (watched.next / "access.cedar").write_text("permit (principal, action, resource);")
    await watched.look()
    assert watched.policy_for("tenant_a") == candidate
    assert watched.report.is_failing
    watched.write(promoted="tenant_b")  # the file is right: what it says holds, with the candidate as it was
    await watched.look()
    assert (watched.policy_for("tenant_a"), watched.policy_for("tenant_b")) == (watched.version, candidate)


@pytest.mark.parametrize("broken", ["candidate: [", "candidate: absent\npromoted: {tenants: [tenant_b]}\n"])
async def test_a_rollout_file_that_breaks_leaves_everything(folder: Path, metrics: PolicyMetrics, broken: str) -> None:
    watched = RolledOut(folder, metrics, promoted="tenant_a")
    candidate = watched.candidate_version
    watched.file.write_text(broken)
    await watched.look(6)
    assert watched.policy_for("tenant_a") == candidate
    assert watched.policy_for("tenant_b") == watched.version
    assert watched.report.is_failing


async def test_a_tenant_that_the_candidate_does_not_list_is_a_typing_error(
    folder: Path, metrics: PolicyMetrics
) -> None:
    watched = RolledOut(folder, metrics)
    watched.write(promoted="tenant_x")
    with capture_logs() as logs:
        await watched.look(6)
    assert watched.candidate_version is None
    assert any("lists no tenant 'tenant_x'" in str(line.get("reason")) for line in logs)


def test_a_broken_candidate_that_decides_ends_the_start(folder: Path, metrics: PolicyMetrics) -> None:
    RolledOut(folder, metrics, promoted="tenant_a")
    (folder.with_name("next") / "roles.yaml").write_text("roles: 3")
    with pytest.raises(ConfigurationError, match=r"the candidate that decides cannot be used: .*roles\.yaml:1"):
        Watched(folder, metrics, folder.with_name("rollout.yaml"))


async def test_a_broken_candidate_in_the_shadow_does_not(folder: Path, metrics: PolicyMetrics) -> None:
    first = RolledOut(folder, metrics)
    first.write()
    good = (first.next / "roles.yaml").read_text()
    (first.next / "roles.yaml").write_text("roles: 3")
    watched = Watched(folder, metrics, first.file)
    assert watched.report.is_failing
    assert watched.candidate_version is None
    (first.next / "roles.yaml").write_text(good)
    await watched.look()
    assert watched.candidate_version == load_snapshot(first.next).version
    assert not watched.report.is_failing
