"""The issuer of a local installation: its keys, its tokens, and that services accept them."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from support.cli_command import Command

from vecsec_chassis.auth.grants import GrantSigner, GrantVerifier
from vecsec_chassis.auth.keys import FileKeySource
from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_cli.local import development_issuer
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def ensure(root: Path) -> None:
    development_issuer.ensure(StateDirectory(root))


def mint(vecsec: Command, *arguments: str, exit_code: int = 0) -> str:
    common = ("--tenant", "tenant_a", "--role", "analyst", "--clearance", "INTERNAL", "--subject", "alice")
    return vecsec("token", *common, *arguments, exit_code=exit_code).stdout.strip()


async def test_the_services_accept_its_tokens(vecsec: Command, state: Path) -> None:
    ensure(state)
    token = mint(vecsec)
    identity = await TokenVerifier(load_trusted_issuers(state / "issuers.json")).verify(token)
    assert (identity.subject, identity.tenant_id, identity.role) == ("alice", "tenant_a", "analyst")
    assert identity.clearance is Sensitivity.INTERNAL
    assert identity.issuer == development_issuer.ISSUER
    assert identity.expires_at == pytest.approx(time.time() + 3600, abs=5)


async def test_a_token_without_a_subject_is_for_whoever_types(vecsec: Command, state: Path) -> None:
    """The shell turns a refusal into an empty VECSEC_TOKEN, of which the next command complains."""
    ensure(state)
    verifier = TokenVerifier(load_trusted_issuers(state / "issuers.json"))
    options = ("--tenant", "tenant_a", "--role", "admin", "--clearance", "SECRET")
    for subject in ((), ("--subject", "")):
        token = vecsec("token", *options, *subject, LOGNAME="root").stdout.strip()
        assert (await verifier.verify(token)).subject == "root"


def test_a_token_is_for_nobody_where_the_machine_knows_no_name(
    vecsec: Command, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(state)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    refused = vecsec("token", "--tenant", "tenant_a", "--role", "admin", "--clearance", "SECRET", exit_code=2)
    assert "--subject NAME" in refused.stderr
    assert refused.stdout == ""


async def test_the_services_accept_its_grant_keys(state: Path) -> None:
    ensure(state)
    grant = Grant(
        subject="alice",
        caller_tenant_id="tenant_a",
        role="analyst",
        tenant_id="tenant_a",
        action=Action.READ,
        residual="{}",
        may_configure=False,
        policy_version="1",
        expires_at=time.time() + 60,
    )
    signed = GrantSigner.from_file(state / "keys" / "grant.pem").sign(grant)
    read = await GrantVerifier(FileKeySource(state / "keys" / "grant.jwks.json", "VECSEC_GRANT_JWKS")).verify(signed)
    assert read.tenant_id == "tenant_a"


def test_private_keys_are_their_owners_and_public_files_hold_none(state: Path) -> None:
    ensure(state)
    assert stat.S_IMODE((state / "keys").stat().st_mode) == 0o700
    for name in ("issuer.pem", "grant.pem"):
        assert stat.S_IMODE((state / "keys" / name).stat().st_mode) == 0o600
    for path in (state / "keys").glob("*.json"):
        assert all("d" not in key for key in json.loads(path.read_text())["keys"])
    assert sorted(files(state)) == [
        "issuers.json",
        "keys/grant.jwks.json",
        "keys/grant.pem",
        "keys/issuer.jwks.json",
        "keys/issuer.pem",
    ]


def test_a_second_start_changes_nothing_and_a_lost_file_comes_back(state: Path) -> None:
    ensure(state)
    before = files(state)
    ensure(state)
    assert files(state) == before
    (state / "keys" / "issuer.jwks.json").unlink()
    ensure(state)
    assert files(state) == before


def test_an_operators_list_of_issuers_stays(state: Path) -> None:
    state.mkdir()
    (state / "issuers.json").write_text("{}")
    ensure(state)
    assert (state / "issuers.json").read_text() == "{}"


def test_many_processes_at_once_end_up_with_the_same_keys(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vecsec_cli.local import development_issuer; "
        "from vecsec_cli.local.state_directory import StateDirectory; "
        "print(flush=True); sys.stdin.read(); development_issuer.ensure(StateDirectory(Path(sys.argv[1])))"
    )
    for attempt in range(2):
        root = tmp_path / str(attempt)
        command = [sys.executable, "-c", script, str(root)]
        processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline(), "it has its imports behind it and waits"
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait() for process in processes] == [0] * 4
        before = files(root)
        assert len(before) == 5
        ensure(root)  # would tell if keys and key sets did not fit together
        assert files(root) == before


def test_keys_that_are_not_published_are_told(state: Path) -> None:
    ensure(state)
    (state / "keys" / "issuer.pem").unlink()
    with pytest.raises(CommandFailure, match="does not publish"):
        ensure(state)


@pytest.mark.parametrize("content", [b"", b"not a key"])
def test_a_broken_key_is_told(vecsec: Command, state: Path, content: bytes) -> None:
    ensure(state)
    (state / "keys" / "issuer.pem").write_bytes(content)
    with pytest.raises(CommandFailure, match=r"issuer\.pem"):
        ensure(state)
    mint(vecsec, exit_code=2)


def test_without_an_installation_no_token_is_minted(vecsec: Command, state: Path) -> None:
    told = vecsec(
        *("token", "--tenant", "a", "--role", "analyst", "--clearance", "INTERNAL", "--subject", "me"), exit_code=2
    )
    assert "vecsec up" in told.stderr
    assert not state.exists()


def test_token_options(vecsec: Command, state: Path) -> None:
    ensure(state)
    token = mint(vecsec, "--lifetime", "60")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert claims["aud"] == "vecsec"
    answer = json.loads(mint(vecsec, "--json"))
    assert answer["expires_in_seconds"] == 3600
    assert answer["token"].count(".") == 2
    for wrong in (("--clearance", "COSMIC"), ("--lifetime", "0"), ("--lifetime", "99999999")):
        mint(vecsec, *wrong, exit_code=2)
    assert (
        jwt.decode(mint(vecsec, "--clearance", "secret"), options={"verify_signature": False})["clearance"] == "SECRET"
    )
