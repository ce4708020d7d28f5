"""The examples as they stand, against real services: two users of one program see what each may read."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from fastapi.testclient import TestClient
from support.stack import Stack
from support.waiting import COMMAND_SECONDS

from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_client import DocumentInput, VecSecClient

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
JOB = ROOT / "deploy" / "examples" / "kubernetes" / "import-job.yaml"
ISSUERS = ROOT / "deploy" / "kubernetes" / "components" / "service-accounts" / "issuers.json"
SECRET_NOTE, OPEN_NOTE = "The merger closes in May.", "Ranking is done by cosine."
QUESTION = "when does the merger close?"
CLEARANCES = {"guest": "PUBLIC", "analyst": "INTERNAL", "admin": "SECRET"}
NOTHING = "I found nothing about it that you may read."
Token = Callable[..., str]


@pytest.fixture(scope="module")
def token_of(stack: Stack) -> Token:
    return lambda role, tenant="tenant_a": stack.issuer.token(tenant, role, CLEARANCES[role], role)


@pytest.fixture(scope="module")
def gateway(stack: Stack, token_of: Token) -> str:
    """With a note for everybody and one for few."""
    address = f"localhost:{stack.gateway_service.port}"
    with VecSecClient(address, token=token_of("admin"), default_tenant="tenant_a") as client:
        client.import_documents(
            [
                DocumentInput(document_id="merger", text=SECRET_NOTE, sensitivity="SECRET", topics=["rag"]),
                DocumentInput(document_id="ranking", text=OPEN_NOTE, sensitivity="PUBLIC", topics=["rag"]),
            ]
        )
    return address


@pytest.fixture
def anonymous(gateway: str) -> Iterator[VecSecClient]:
    with VecSecClient(gateway, token=None, default_tenant="tenant_a") as client:
        yield client


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_has_a_test(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 100
    assert any(path.stem in test.read_text() for test in Path(__file__).parent.glob("test_*.py"))


@pytest.fixture
def browser(gateway: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("VECSEC_GATEWAY", gateway)
    monkeypatch.setenv("VECSEC_TENANT", "tenant_a")
    with TestClient(example("search_service")["app"]) as client:
        yield client


def asked(browser: TestClient, token: str | None, **query: object) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return browser.get("/search", params={"q": QUESTION, **query}, headers=headers)


def test_two_browsers_of_one_web_service_see_what_their_users_may_read(browser: TestClient, token_of: Token) -> None:
    for _ in range(3):  # one after the other, over one connection
        assert {each["text"] for each in asked(browser, token_of("admin")).json()} == {SECRET_NOTE, OPEN_NOTE}
        assert {each["text"] for each in asked(browser, token_of("guest")).json()} == {OPEN_NOTE}


def test_the_web_service_tells_refusals_as_http_does(browser: TestClient, token_of: Token) -> None:
    nobody = asked(browser, None)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    forged = asked(browser, "not-a-token")
    assert (forged.status_code, forged.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    stranger = asked(browser, token_of("admin", "tenant_b"))
    assert stranger.status_code == 403
    assert "merger" not in stranger.text
    assert asked(browser, token_of("admin"), k=0).status_code == 422
    assert asked(browser, token_of("admin"), q=" ").status_code == 400


def test_the_langchain_chain_answers_each_user(anonymous: VecSecClient, token_of: Token) -> None:
    rag = example("langchain_rag")
    chain = rag["chain_over"](anonymous)
    assert rag["ask"](chain, token_of("admin"), QUESTION) == f"{SECRET_NOTE} [merger]"
    assert rag["ask"](chain, token_of("guest"), QUESTION) == f"{OPEN_NOTE} [ranking]"


def test_the_llama_index_engine_answers_each_user(anonymous: VecSecClient, gateway: str, token_of: Token) -> None:
    ask = example("llama_index_rag")["ask"]
    text, sources = ask(anonymous, token_of("admin"), QUESTION)
    assert SECRET_NOTE in text
    assert set(sources) == {"merger", "ranking"}
    assert ask(anonymous, token_of("guest"), QUESTION)[1] == ["ranking"]
    with VecSecClient(gateway, token=None, default_tenant="tenant_b") as other:
        assert ask(other, token_of("admin", "tenant_b"), QUESTION) == (NOTHING, [])


@pytest.mark.parametrize("name", ["langchain_rag", "llama_index_rag"])
def test_the_programs_run_as_their_first_lines_say(name: str, gateway: str, token_of: Token) -> None:
    printed = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), gateway, "tenant_a", QUESTION],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_SECONDS,
        env={**os.environ, "VECSEC_TOKEN": token_of("guest")},
    )
    assert OPEN_NOTE in printed.stdout
    assert "merger" not in printed.stdout


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_job_follows_the_published_schemas_and_is_who_the_cluster_lets_write(version: str) -> None:
    job = yaml.safe_load(JOB.read_text())
    kubernetes_validate.validate(job, version, strict=True)
    (issuer,) = load_trusted_issuers(ISSUERS)
    pod = job["spec"]["template"]["spec"]
    (source,) = pod["volumes"][0]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] in issuer.accepted_audiences
    assert source["serviceAccountToken"]["expirationSeconds"] <= issuer.bounds.max_lifetime
    namespace, account = job["metadata"]["namespace"], pod["serviceAccountName"]
    claims = {"sub": f"system:serviceaccount:{namespace}:{account}", "kubernetes.io": {"namespace": namespace}}
    identity = issuer.mapping.identity(claims, issuer=issuer.issuer, expires_at=0.0)
    assert (identity.tenant_id, identity.role, identity.clearance.name) == ("tenant_a", "admin", "INTERNAL")
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_jobs_command_imports_and_may_be_tried_again(
    stack: Stack, gateway: str, token_of: Token, tmp_path: Path
) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "ranking.md").write_text("# Ranking\n\nRanking is done by cosine.\n")
    (tmp_path / "token").write_text(stack.issuer.token("tenant_a", "admin", "INTERNAL", "indexer"))
    (container,) = yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]["containers"]
    here = {"/var/run/vecsec": str(tmp_path), "/documents": str(tmp_path / "documents")}
    command = [_replaced(word, here) for word in container["command"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {each["name"]: each["value"] for each in container["env"]}
    environment = given | {"VECSEC_GATEWAY": gateway, "PATH": path, "HOME": str(tmp_path)}
    for _ in range(2):
        subprocess.run(command, check=True, timeout=COMMAND_SECONDS, env=environment, cwd=tmp_path)
    with VecSecClient(gateway, token=token_of("analyst"), default_tenant="tenant_a") as client:
        assert [each.text for each in client.iter_documents(collection="handbook")] == [
            "# Ranking\n\nRanking is done by cosine."
        ]


def _replaced(word: str, places: dict[str, str]) -> str:
    for place, here in places.items():
        word = word.replace(place, here)
    return word
