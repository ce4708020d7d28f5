"""`vecsec issuers check` and `vecsec token inspect`: they say what the services would, before anybody is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli_command import Command
from support.issuer import AUDIENCE, Issuer, jwks
from support.key_server import running_key_server
from typer.testing import CliRunner

from vecsec_cli.main import app
from vecsec_policy.settings import PACKAGED_POLICY


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def vecsec(issuer: Issuer) -> Command:
    return Command({"VECSEC_ISSUERS_FILE": str(issuer.issuers_file), "COLUMNS": "300"})


def write(issuer: Issuer, *others: dict[str, Any], **changes: Any) -> None:
    usual = {"issuer": issuer.name, "audience": AUDIENCE, "jwks": "issuer.jwks.json", "algorithms": ["EdDSA"]}
    issuer.issuers_file.write_text(json.dumps({"issuers": [usual | changes, *others]}))


def test_a_token_is_read_step_by_step(vecsec: Command, issuer: Issuer) -> None:
    write(issuer, bounds={"tenants": ["tenant_*"]}, claims={"role": "roles[0]", "groups": "groups"})
    token = issuer.token(roles=["analyst"], groups=["b", "a"])
    told = vecsec("token", "inspect", token).stdout
    for line in (
        "form: ",
        f"issuer: {issuer.name}",
        "algorithm: EdDSA",
        "signature: by key",
        "audience: vecsec",
        "subject: alice (from sub)",
        "tenant: tenant_a (from tenant_id)",
        "role: analyst (from roles[0])",
        "clearance: INTERNAL (from clearance)",
        "groups: 2: a, b (from groups)",
        "attributes: none",
        "bounds: within what its issuer may say",
        f"accepted by {issuer.issuers_file}",
    ):
        assert line in told
    assert "refused" not in told
    assert token.rpartition(".")[2] not in told, "the signature is nobody's to see"


def test_groups_that_do_not_count_are_named(vecsec: Command, issuer: Issuer) -> None:
    write(issuer, bounds={"groups": ["kb-*"]})
    token = issuer.token(groups=["kb-a", "hr", "law"])
    told = vecsec("token", "inspect", token).stdout
    assert "groups: 3: hr, kb-a, law" in told
    assert "bounds: within what its issuer may say, but for 2 of 3 groups, which do not count: hr, law" in told
    assert "accepted by" in told


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"exp": 1_700_000_000}, "times", " s ago by this machine's clock"),
        ({"iss": "https://other.test"}, "issuer", "'https://other.test' is none of 'https://issuer.test'"),
        ({"aud": "other"}, "audience", "for another audience than 'vecsec'"),
        ({"headers": {"kid": "other"}}, "signature", "key 'other' is none of its keys"),
        ({"role": "admin"}, "bounds", "may not give the role 'admin'"),
        ({"clearance": None}, "clearance", "'clearance' yields nothing"),
        ({"tenant_id": ["a", "b"]}, "tenant", "yields a list where a text is needed"),
        ({"groups": ["x" * 3000]}, "groups", "a group must be 1 to 250"),
        ({"padding": "x" * 10_000}, "length", "more than 8,192"),
    ],
)
def test_why_a_token_is_refused(vecsec: Command, issuer: Issuer, changes: dict[str, Any], name: str, why: str) -> None:
    write(issuer, bounds={"roles": ["analyst"]})
    answer = vecsec.json("token", "inspect", issuer.token(**changes), exit_code=3)
    assert not answer["accepted"]
    (refused,) = (step for step in answer["steps"] if step["outcome"] == "refused")
    assert refused["name"] == name
    assert why in refused["text"]


def test_a_token_comes_from_standard_input_too(vecsec: Command, issuer: Issuer) -> None:
    told = CliRunner().invoke(
        app, ["token", "inspect", "-"], input=f"Bearer {issuer.token()}\n", env=vecsec.environment
    )
    assert told.exit_code == 0, told.output
    assert "accepted" in told.output
    assert "no signed token" in vecsec("token", "inspect", "garbage", exit_code=3).stdout


def test_nothing_leaves_the_machine_unless_told_so(vecsec: Command, issuer: Issuer) -> None:
    with running_key_server(jwks(issuer.key)) as server:
        write(issuer, jwks=f"{server.url}/keys")
        answer = vecsec.json("token", "inspect", issuer.token())
        assert not answer["accepted"]
        assert [step["name"] for step in answer["steps"] if step["outcome"] == "unknown"] == ["signature"]
        assert server.paths == []
        assert vecsec.json("token", "inspect", "--fetch", issuer.token())["accepted"]


def test_a_minted_token_with_groups_is_read_as_the_services_read_it(tmp_path: Path) -> None:
    from vecsec_cli.local import development_issuer
    from vecsec_cli.local.state_directory import StateDirectory

    development_issuer.ensure(StateDirectory(tmp_path))
    vecsec = Command({"VECSEC_STATE_DIR": str(tmp_path), "COLUMNS": "300"})
    common = ("--tenant", "acme", "--role", "guest", "--clearance", "PUBLIC", "--subject", "eve")
    token = vecsec("token", *common, "--group", "law", "--group", "all").stdout.strip()
    told = vecsec("token", "inspect", token).stdout
    assert "groups: 2: all, law" in told
    assert "accepted by" in told


def test_a_good_file(vecsec: Command, issuer: Issuer) -> None:
    assert "no errors, no warnings" in vecsec("issuers", "check").stdout
    assert vecsec.json("issuers", "check", str(issuer.issuers_file))["findings"] == []


OTHER = {"issuer": "https://other.test", "audience": "a", "algorithms": ["EdDSA"], "jwks": "issuer.jwks.json"}


@pytest.mark.parametrize(
    ("changes", "severity", "why"),
    [
        ({"jwks": "absent.json"}, "error", "absent.json: No such file"),
        ({"jwks": "broken.json"}, "error", "its keys cannot be had"),
        ({"jwks": "empty.json"}, "error", "its set of keys is empty"),
        ({"jwks": "http://127.0.0.1:1/keys"}, "error", "http://127.0.0.1:1/keys: "),
        (
            {"jwks": None, "discovery": True, "issuer": "http://127.0.0.1:1"},
            "error",
            "/.well-known/openid-configuration",
        ),
        ({"algorithms": ["EdDSA", "RS256"]}, "warning", "none of its keys is for RS256 (it has OKP)"),
        ({"claims": {"role": {"path": "r", "values": {"x": "chef"}}}}, "error", "the policy knows no role 'chef'"),
        ({"bounds": {"roles": ["chef"]}}, "error", "the policy knows no role 'chef'"),
        ({"bounds": {"tenants": ["nobody-*"]}}, "error", "its bounds exclude all tenants"),
        ({"claims": {"tenant": {"constant": "nowhere"}}}, "warning", "the policy lists no tenant 'nowhere'"),
        (
            {"claims": {"role": {"constant": "admin"}}, "bounds": {"roles": ["guest"]}},
            "error",
            "gives the roles admin, of which its bounds allow none",
        ),
        (
            {"claims": {"tenant": {"constant": "tenant_a"}}, "bounds": {"tenants": ["tenant_b"]}},
            "error",
            "gives the tenants tenant_a, of which its bounds allow none",
        ),
        (
            {"claims": {"clearance": {"constant": "SECRET"}}, "bounds": {"max_clearance": "PUBLIC"}},
            "error",
            "all above PUBLIC",
        ),
        ({"claims": {"clearance": {"constant": "TOP"}}}, "error", "gives clearance 'TOP'"),
        ({"claims": {"role": "a["}}, "error", "is no JMESPath"),
    ],
)
def test_what_cannot_work(vecsec: Command, issuer: Issuer, changes: dict[str, Any], severity: str, why: str) -> None:
    (issuer.folder / "broken.json").write_text("{")
    (issuer.folder / "empty.json").write_text('{"keys": []}')
    if "discovery" in changes:
        entry = {"issuer": changes["issuer"], "audience": "a", "algorithms": ["EdDSA"], "discovery": True}
        issuer.issuers_file.write_text(json.dumps({"issuers": [entry]}))
    else:
        write(issuer, **changes)
    exit_code = 1 if severity == "error" else 0
    found = vecsec.json("issuers", "check", "--policy", str(PACKAGED_POLICY), exit_code=exit_code)["findings"]
    assert [each["severity"] for each in found if why in each["message"]] == [severity], found


def test_keys_without_tls_and_an_issuer_without_bounds_are_warned_of(vecsec: Command, issuer: Issuer) -> None:
    write(issuer, OTHER | {"jwks": "http://keys.invalid/set"})
    told = vecsec("issuers", "check", exit_code=1).stdout
    assert "https://other.test: warning: its keys come without TLS" in told
    assert told.count("warning: may speak for any tenant, one of several issuers") == 2


def test_a_file_that_is_none(vecsec: Command, issuer: Issuer) -> None:
    issuer.issuers_file.with_suffix(".yaml").write_text(yaml.safe_dump({"issuers": []}))
    told = vecsec("issuers", "check", str(issuer.issuers_file.with_suffix(".yaml")), exit_code=1).stdout
    assert "error: VECSEC_ISSUERS_FILE=" in told
    issuer.issuers_file.write_text("{")
    refused = vecsec("token", "inspect", "x", exit_code=2)
    assert "vecsec issuers check" in refused.stderr
