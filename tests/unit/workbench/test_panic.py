"""`vecsec panic` where no service runs: what it writes, keeps and refuses. Against live services: tests/tenancy."""

import hashlib
import json
import shutil
import stat
import subprocess
from pathlib import Path
from threading import Thread

import jwt
import pytest
import typer
from support.cli_command import Command
from unit.workbench.recorded import Recorded

from vecsec_cli.local import development_issuer
from vecsec_cli.local.flag_file import FlagSetting, read_setting, write_setting
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.command_group import CommandGroup
from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_workbench.leak_response import grant_revocation, steps
from vecsec_workbench.leak_response.app import panic
from vecsec_workbench.leak_response.grant_revocation import revoke_grants

root = typer.Typer(cls=CommandGroup)
root.callback()(lambda: None)
root.command("panic")(panic)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PUBLISHED_SECONDS", "_ADOPTION_SECONDS"):
        monkeypatch.setattr(grant_revocation, name, 0.0)
    monkeypatch.setattr(steps, "_POLL_SECONDS", 0.0)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """An installation that is down: nothing listens at its ports."""
    found = StateDirectory(tmp_path / "state")
    development_issuer.ensure(found)
    shutil.copytree(PACKAGED_POLICY, found.policy)
    found.flags_file.write_text(json.dumps({"flags": {}}))
    found.audit_file.parent.mkdir()
    recorded = Recorded(found.audit_file)
    recorded.check("guest", ("SECRET", "rag"))
    recorded.check("analyst", ("PUBLIC", "rag"), tenant_id="tenant_b")
    return found


@pytest.fixture
def vecsec(state: StateDirectory) -> Command:
    ports = {f"VECSEC_{name}_PORT": "1" for name in ("GATEWAY", "RETRIEVAL", "POLICY")}
    return Command({"COLUMNS": "250", "VECSEC_STATE_DIR": str(state.root), **ports}, root)


def setting(state: StateDirectory) -> FlagSetting:
    found = read_setting(state.flags_file)
    assert found is not None
    return found


def published(state: StateDirectory) -> list[str]:
    return [key["kid"] for key in json.loads(state.grant_jwks.read_bytes())["keys"]]


def key_id(pem: Path) -> str:
    return development_issuer.public_jwk(development_issuer.read_key(pem))["kid"]


def everything(state: StateDirectory) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in state.root.rglob("*") if file.is_file()}


def test_steps_that_fail_are_told_and_stop_no_other(vecsec: Command, state: StateDirectory) -> None:
    said = vecsec.json("panic", "--tenant", "tenant_a", exit_code=1)
    outcomes = {step["step"]: step["outcome"] for step in said["steps"]}
    assert outcomes == {
        "stop real answers": "DONE",
        "revoke grants": "FAILED",  # done, but nobody answers who could have been seen to sign with the new key
        "prove it": "FAILED",
        "collect evidence": "DONE",
    }
    assert "UNAVAILABLE" in said["steps"][1]["detail"]
    assert said["ok"] is False
    assert not setting(state).is_on("tenant_a")
    assert setting(state).is_on("tenant_b")


def test_a_new_key_takes_the_place_of_the_old_one(vecsec: Command, state: StateDirectory) -> None:
    before = published(state)
    vecsec("panic", "--all", exit_code=1)
    assert published(state) == [key_id(state.grant_key)]
    assert published(state) != before
    assert stat.S_IMODE(state.grant_key.stat().st_mode) == 0o600
    assert setting(state) == FlagSetting(default=False)


def test_both_keys_are_published_while_the_policy_service_takes_the_new_one(state: StateDirectory) -> None:
    seen: list[list[str]] = []
    before = published(state)

    def signs_with() -> str:
        seen.append(published(state))
        return key_id(state.grant_key)

    done = revoke_grants(state.grant_key, str(state.grant_jwks), signs_with)
    assert done.is_adopted
    assert seen == [[*before, done.key_id]]
    assert done.withdrawn == tuple(before)


def test_in_a_folder_of_keys_the_new_one_sorts_last_however_often(state: StateDirectory) -> None:
    folder = state.keys / "signing"
    folder.mkdir()
    state.grant_key.rename(folder / "grant.pem")
    for _ in range(3):
        done = revoke_grants(folder, str(state.grant_jwks), None)
        assert key_id(max(folder.glob("*.pem"))) == done.key_id
    assert published(state) == [done.key_id]


def test_root_gives_away_no_file_that_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's owner may swap the new key for a link before root hands it over."""
    victim, key = tmp_path / "victim", tmp_path / "key.pem"
    victim.write_bytes(b"")
    given_away: list[Path] = []

    def plant(path: Path, content: bytes, *, mode: int) -> None:
        path.symlink_to(victim)

    def chown(path: Path, _uid: int, _gid: int, *, follow_symlinks: bool = True) -> None:
        given_away.append(path.resolve() if follow_symlinks else path)

    monkeypatch.setattr(grant_revocation.state_files, "replace", plant)
    monkeypatch.setattr(grant_revocation.os, "geteuid", lambda: 0)
    monkeypatch.setattr(grant_revocation.os, "chown", chown)
    grant_revocation._replace_file(key, b"a key", 0o600)
    assert given_away == [key]


def test_two_at_once_do_not_withdraw_each_others_key(state: StateDirectory) -> None:
    def revoke() -> None:
        revoke_grants(state.grant_key, str(state.grant_jwks), None)

    other = Thread(target=revoke)

    def signs_with() -> str:
        """The other one begins while this one waits to see its key."""
        if not other.is_alive():
            other.start()
            other.join(0.5)
        return key_id(state.grant_key)

    assert revoke_grants(state.grant_key, str(state.grant_jwks), signs_with).is_adopted
    other.join()
    assert published(state) == [key_id(state.grant_key)]


def test_a_key_set_behind_a_url_is_left_to_its_owner(vecsec: Command, state: StateDirectory) -> None:
    before = state.grant_key.read_bytes()
    said = vecsec.json("panic", "--all", exit_code=1, VECSEC_GRANT_JWKS="https://keys.example/grants")
    assert "behind a URL" in said["steps"][1]["detail"]
    assert state.grant_key.read_bytes() == before


def test_a_dry_run_changes_nothing(vecsec: Command, state: StateDirectory) -> None:
    before = everything(state)
    said = vecsec("panic", "--all", "--dry-run").output
    assert "would" in said
    assert everything(state) == before


def test_the_evidence_is_whole_private_and_holds_no_secret(vecsec: Command, state: StateDirectory) -> None:
    token = jwt.encode({"sub": "alice"}, "x" * 32)
    folder = Path(vecsec.json("panic", "--tenant", "tenant_a", exit_code=1, VECSEC_TOKEN=token)["evidence"])
    manifest = json.loads((folder / "manifest.json").read_bytes())
    listed = {entry["file"]: entry["sha256"] for entry in manifest["files"]}
    found = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    assert found.keys() == listed.keys() | {"manifest.json"}
    for name, digest in listed.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == digest
    assert {stat.S_IMODE(file.stat().st_mode) for file in found.values()} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*") if each.is_dir()} == {0o700}
    assert {"flags.after.json", "grant-keys.before.json", "policy.json", "steps.json", "versions.json"} <= listed.keys()
    assert {
        "policy/access.cedar",
        "policy/tenants.yaml",
        "audit/callers.json",
        "audit/verification.json",
    } <= listed.keys()
    everything = b"".join(file.read_bytes() for file in found.values())
    assert b"PRIVATE KEY" not in everything
    assert token.encode() not in everything
    assert manifest["lacking"] == []


def test_the_evidence_has_the_records_of_the_tenant_as_they_stand_in_the_log(
    vecsec: Command, state: StateDirectory
) -> None:
    folder = Path(vecsec.json("panic", "--tenant", "tenant_b", exit_code=1)["evidence"])
    kept = (folder / "audit" / "records.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["tenant_id"] for line in kept] == ["tenant_b"]
    assert set(kept) <= set(state.audit_file.read_bytes().splitlines())
    verification = json.loads((folder / "audit" / "verification.json").read_bytes())
    assert verification["is_whole"] is True
    assert verification["head"]["hash"]
    whole = Path(vecsec.json("panic", "--all", exit_code=1)["evidence"])
    assert len((whole / "audit" / "records.jsonl").read_bytes().splitlines()) > 1


def test_evidence_that_lacks_something_says_so_and_has_the_rest(vecsec: Command, state: StateDirectory) -> None:
    state.audit_file.write_bytes(state.audit_file.read_bytes().replace(b"alice", b"carol"))
    said = vecsec.json("panic", "--all", "--evidence", str(state.root / "mine"), exit_code=1)
    assert "the log is not whole" in said["steps"][3]["detail"]
    lacking = json.loads((state.root / "mine" / "manifest.json").read_bytes())["lacking"]
    assert len(lacking) == 1
    assert (state.root / "mine" / "policy" / "roles.yaml").exists()
    again = vecsec.json("panic", "--all", "--evidence", str(state.root / "mine"), exit_code=1)
    assert "exists" in again["steps"][3]["detail"], "evidence is never written over"


def test_a_flag_file_that_nobody_understands_stops_no_panic_for_all(vecsec: Command, state: StateDirectory) -> None:
    state.flags_file.write_text("{half a fi")
    one = vecsec.json("panic", "--tenant", "tenant_a", exit_code=1)
    assert one["steps"][0]["outcome"] == "FAILED"
    assert state.flags_file.read_text() == "{half a fi"
    vecsec("panic", "--all", exit_code=1)
    assert setting(state) == FlagSetting(default=False)
    assert [file.read_text() for file in state.root.glob("flags.json.*")] == ["{half a fi"]


def test_back_by_tenant_by_share_and_for_all_but_who_was_off_before(vecsec: Command, state: StateDirectory) -> None:
    write_setting(state.flags_file, FlagSetting(default=True, tenants={"python_net": False}))
    vecsec("panic", "--all", exit_code=1)
    vecsec("panic", "--all", exit_code=1)  # a second one does not take the first one's work for what was before
    vecsec("panic", "--release", "--tenant", "tenant_a")
    assert setting(state) == FlagSetting(default=False, tenants={"tenant_a": True})
    first = set(vecsec.json("panic", "--release", "--share", "0.3")["released"])
    second = set(vecsec.json("panic", "--release", "--share", "0.6")["released"])
    assert first < second
    assert "python_net" not in second
    assert {name for name, is_on in setting(state).tenants.items() if is_on} == second | {"tenant_a"}
    vecsec("panic", "--release", "--all")
    assert setting(state) == FlagSetting(default=True, tenants={"python_net": False})
    assert not (state.root / "panic.json").exists()
    vecsec("panic", "--release", "--share", "0.5", exit_code=2)  # nobody is off


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say for whom"),
        (["--all", "--tenant", "tenant_a"], "say for whom"),
        (["--share", "0.5"], "say for whom"),
        (["--tenant", "tenat_a"], "lists no tenant 'tenat_a'"),
        (["--tenant", "../state"], "lists no tenant '../state'"),
        (["--all", "--since", "yesterday-ish"], "no point in time"),
        (["--all", "--release", "--dry-run"], "--release"),
        (["--tenant", "a; rm -r .", "--kubernetes"], "lists no tenant"),
    ],
)
def test_what_is_not_clear_is_refused_before_anything_is_done(
    vecsec: Command, state: StateDirectory, arguments: list[str], complaint: str
) -> None:
    before = everything(state)
    assert complaint in vecsec("panic", *arguments, exit_code=2).output
    assert everything(state) == before


def test_a_folder_that_is_no_installation_gets_no_flag(vecsec: Command, tmp_path: Path) -> None:
    assert "holds no installation" in vecsec("panic", "--all", "--state-dir", str(tmp_path / "x"), exit_code=2).output
    assert not (tmp_path / "x").exists()


def test_the_steps_for_kubernetes_are_commands(vecsec: Command, state: StateDirectory) -> None:
    before = everything(state)
    said = vecsec("panic", "--tenant", "tenant_a", "--kubernetes").stdout
    assert "vecsec flag set off --tenant tenant_a" in said
    assert "{.data.flags\\.json}" in said
    subprocess.run(["bash", "-n"], input=said, text=True, check=True)
    assert everything(state) == before
