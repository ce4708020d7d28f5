"""What operators get wrong ends the start with one line that names the setting and what to do; `--check`, which
`vecsec doctor` asks, says the very same. A ChromaDB server that does not answer as it should is waited for."""

import asyncio
import contextlib
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.certificates import Authority

from vecsec_chassis.process import service
from vecsec_chassis.process.starting import EXIT_CANNOT_START, check_if_asked
from vecsec_chassis.telemetry import logs
from vecsec_cli.checks.finding import CheckState
from vecsec_cli.checks.start import check_start
from vecsec_cli.local import installation
from vecsec_cli.local.service_settings import read_dotenv, service_environment, services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_gateway import app as gateway_app
from vecsec_gateway import start_checks as gateway_checks
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy import app as policy_app
from vecsec_policy import start_checks as policy_checks
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval import app as retrieval_app
from vecsec_retrieval import start_checks as retrieval_checks
from vecsec_retrieval.settings import RetrievalSettings
from vecsec_retrieval.stores.remote import RemoteCellStore

NAMES = ("gateway", "policy", "retrieval")
OURS = ("VECSEC_", "CHROMA_", "USE_REAL", "OTEL_")
Breaking = Callable[[Path], object]


def gone(name: str) -> Breaking:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def half(name: str) -> Breaking:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def holding(name: str, content: str) -> Breaking:
    return lambda folder: (folder / name).write_text(content)


def nothing(_folder: Path) -> None:
    """Only settings are wrong."""


@dataclass(frozen=True)
class BadInput:
    """One thing that is wrong."""

    what: str
    services: tuple[str, ...]
    breaking: Breaking
    complaint: str
    """What the line holds: the setting, above all."""
    remedy: str
    settings: dict[str, str] = field(default_factory=dict)
    """`{folder}` in them is the state directory."""

    def __str__(self) -> str:
        return self.what


NAME_A_FILE, WHOLE, CORRECT = "name a file", "write the whole", "correct it"
KEY, KEYS, ISSUERS, RULES = ("VECSEC_GRANT_KEY_FILE", "VECSEC_GRANT_JWKS", "VECSEC_ISSUERS_FILE", "VECSEC_POLICY_DIR")
FLAG, READERS = "VECSEC_FLAG_FILE", ("gateway", "retrieval")
POLICY, RETRIEVAL = ("policy",), ("retrieval",)
CHECK = "vecsec policy check"
SIZE, SET_RIGHT = "is not a size such as", "set it right in the environment"

BAD = [
    BadInput("no grant key", POLICY, gone("keys/grant.pem"), KEY, NAME_A_FILE),
    BadInput("half a grant key", POLICY, half("keys/grant.pem"), KEY, WHOLE),
    BadInput("an empty grant key", POLICY, holding("keys/grant.pem", ""), KEY, WHOLE),
    BadInput("no keys of grants", RETRIEVAL, gone("keys/grant.jwks.json"), KEYS, NAME_A_FILE),
    BadInput("half of the keys of grants", RETRIEVAL, half("keys/grant.jwks.json"), KEYS, WHOLE),
    BadInput("keys of grants in a list", RETRIEVAL, holding("keys/grant.jwks.json", "[]"), KEYS, WHOLE),
    BadInput("no issuers", ("gateway", "policy"), gone("issuers.json"), ISSUERS, NAME_A_FILE),
    BadInput("half of the issuers", ("gateway", "policy"), half("issuers.json"), ISSUERS, CORRECT),
    BadInput("no issuer in the file", ("gateway", "policy"), holding("issuers.json", "{}"), ISSUERS, CORRECT),
    BadInput("no keys of an issuer", ("gateway", "policy"), gone("keys/issuer.jwks.json"), ISSUERS, NAME_A_FILE),
    BadInput("half of an issuer's keys", ("gateway", "policy"), half("keys/issuer.jwks.json"), ISSUERS, WHOLE),
    BadInput("no policy", POLICY, gone("policy"), RULES, CHECK),
    BadInput("no roles", POLICY, gone("policy/roles.yaml"), RULES, CHECK),
    BadInput("half of the roles", POLICY, half("policy/roles.yaml"), "roles.yaml:", CHECK),
    BadInput("half of the rules", POLICY, half("policy/access.cedar"), "access.cedar:", CHECK),
    BadInput("half a schema", POLICY, half("policy/schema.cedarschema"), "schema.cedarschema", CHECK),
    BadInput("no tenants", POLICY, holding("policy/tenants.yaml", ""), "tenants.yaml:1: the file is empty", CHECK),
    BadInput("half a rollout", POLICY, holding("rollout.json", '{"cand'), "VECSEC_POLICY_ROLLOUT_FILE", CORRECT),
    BadInput("half a flag file", READERS, holding("flags.json", '{"flags": {'), FLAG, CORRECT),
    BadInput("a flag file that is none", READERS, holding("flags.json", "[]"), FLAG, CORRECT),
    BadInput("a flag that is none", READERS, nothing, "USE_REAL", SET_RIGHT, {"USE_REAL_VECTOR_RETRIEVAL": "so"}),
    BadInput(
        *("CHROMA_PATH is a file", RETRIEVAL, holding("cells", ""), "CHROMA_PATH", "give it to the user"),
        settings={"CHROMA_PATH": "{folder}/cells"},
    ),
    BadInput(
        *("CHROMA_PATH in a place that takes no files", RETRIEVAL, nothing, "CHROMA_PATH", "give it to the user"),
        settings={"CHROMA_PATH": "/proc/vecsec/cells"},
    ),
    BadInput(
        *("no store at CHROMA_PATH", RETRIEVAL, nothing, "holds no store", "to begin a new one, set VECSEC_NEW"),
        settings={"VECSEC_NEW_STORE_UNTIL": "2026-01-31T18:00Z"},
    ),
    BadInput(
        *(
            "a home for CHROMA_PATH",
            RETRIEVAL,
            nothing,
            "holds other things (audit, chroma",
            "name a folder of its own",
        ),
        settings={"CHROMA_PATH": "{folder}"},
    ),
    BadInput(
        "half an identity", RETRIEVAL, holding("chroma/.vecsec-store.json", '{"for'), "CHROMA_PATH", "from a backup"
    ),
    BadInput("a time that is none", RETRIEVAL, nothing, "VECSEC_NEW", SET_RIGHT, {"VECSEC_NEW_STORE_UNTIL": "now"}),
    BadInput(
        *("an address of ChromaDB that is none", RETRIEVAL, nothing, "CHROMA_CONNECTION_STRING", "write http://"),
        settings={"CHROMA_CONNECTION_STRING": "localhost:8000"},
    ),
    BadInput("a size that is none", RETRIEVAL, nothing, SIZE, SET_RIGHT, {"CHROMA_MEMORY_LIMIT": "lots"}),
    BadInput(
        *("no place for the audit log", POLICY, nothing, "VECSEC_AUDIT_FILE", "give it to the user"),
        settings={"VECSEC_AUDIT_FILE": "/proc/vecsec/audit.jsonl"},
    ),
    BadInput("half a .env", NAMES, holding(".env", 'VECSEC_LOG_LEVEL="in'), ".env:1: not NAME=value", "whole line"),
    BadInput("a name without a value in .env", NAMES, holding(".env", "A=1\nVECSEC_LO"), ".env:2:", "whole line"),
    BadInput("a .env that is no text", NAMES, lambda at: (at / ".env").write_bytes(b"\xff\xfe"), "not UTF-8", CORRECT),
]
CERTIFICATE, TLS_KEY, AUTHORITY = "VECSEC_TLS_CERTIFICATE_FILE", "VECSEC_TLS_KEY_FILE", "VECSEC_TLS_CA_FILE"


def bad_tls(name: str) -> Iterator[BadInput]:
    """What is wrong about a service's own certificates."""
    own = (name,)
    yield BadInput("no certificate", own, gone(f"tls/{name}/tls.crt"), CERTIFICATE, NAME_A_FILE)
    yield BadInput("half a certificate", own, half(f"tls/{name}/tls.crt"), CERTIFICATE, WHOLE)
    yield BadInput("no key", own, gone(f"tls/{name}/tls.key"), TLS_KEY, NAME_A_FILE)
    yield BadInput("half a key", own, half(f"tls/{name}/tls.key"), TLS_KEY, WHOLE)
    yield BadInput("no authority", own, gone("tls/ca.crt"), AUTHORITY, NAME_A_FILE)
    yield BadInput("half an authority", own, half("tls/ca.crt"), AUTHORITY, WHOLE)
    yield BadInput("no setting for the key", own, nothing, f"{TLS_KEY} not set", SET_RIGHT, {TLS_KEY: ""})


@dataclass(frozen=True)
class Site:
    """A state directory with everything as it should be, and one service's process in it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def environment(self, name: str, *, tls: bool, **settings: str) -> dict[str, str]:
        """What the service is told."""
        state = StateDirectory(self.folder)
        installation.prepare(state, {})
        chosen = {key: value.format(folder=self.folder) for key, value in settings.items()}
        if tls:
            of_tls = Authority(self.folder / "tls").settings(name)
            chosen = {key: str(value) for key, value in of_tls.items()} | chosen
        told = service_environment(chosen, state, services_of({}))
        ports = {key: "0" for key in told if key.endswith("_PORT")}
        return {**told, **ports}

    def lines(self, name: str, environment: dict[str, str], *arguments: str) -> list[str]:
        """What the service complains of on its way out; fails if it starts."""
        for key in [key for key in os.environ if key.startswith(OURS)]:
            self.monkeypatch.delenv(key)
        for key, value in environment.items():
            self.monkeypatch.setenv(key, value)
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", [f"vecsec_{name}", *arguments])
        self.monkeypatch.setattr(logs, "configure", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            run(name)
        assert ended.value.code == EXIT_CANNOT_START
        return self.capsys.readouterr().err.splitlines()


def run(name: str) -> None:
    """As `python -m vecsec_<name>` does."""
    if name == "gateway":
        check_if_asked(name, GatewaySettings, gateway_checks.start_checks)
        service.run(name, GatewaySettings, gateway_app.running_gateway)
    elif name == "policy":
        check_if_asked(name, PolicySettings, policy_checks.start_checks)
        service.run(name, PolicySettings, policy_app.running_policy)
    else:
        check_if_asked(name, RetrievalSettings, retrieval_checks.start_checks)
        service.run(name, RetrievalSettings, retrieval_app.running_retrieval)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, monkeypatch, capsys)


PLAIN = [pytest.param(bad, name, False, id=f"{name}: {bad}") for bad in BAD for name in bad.services]
TLS = [pytest.param(bad, name, True, id=f"{name} with TLS: {bad}") for name in NAMES for bad in bad_tls(name)]


@pytest.mark.parametrize(("bad", "name", "tls"), [*PLAIN, *TLS])
def test_it_ends_the_start_with_one_line_that_says_what_to_do(bad: BadInput, name: str, tls: bool, site: Site) -> None:
    environment = site.environment(name, tls=tls, **bad.settings)
    bad.breaking(site.folder)
    (line,) = site.lines(name, environment)
    assert line.startswith(f"vecsec {name}: ")
    assert bad.complaint in line
    assert bad.remedy in line.rpartition("; ")[2]
    assert site.lines(name, environment, "--check") == [line]


def test_check_tells_of_every_file_and_touches_none(site: Site) -> None:
    environment = site.environment("policy", tls=False)
    gone("keys/grant.pem")(site.folder)
    half("issuers.json")(site.folder)
    before = sorted(site.folder.rglob("*"))
    lines = site.lines("policy", environment, "--check")
    assert [line.split()[2].partition("=")[0] for line in lines] == [ISSUERS, KEY]
    assert sorted(site.folder.rglob("*")) == before


def test_doctor_says_what_the_services_say(site: Site) -> None:
    """Also of a broken `.env`, which ChromaDB reads by itself as soon as it is imported."""
    environment = site.environment("policy", tls=False)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    state, settings = StateDirectory(site.folder), inherited | environment
    half("issuers.json")(site.folder)
    half("keys/grant.jwks.json")(site.folder)
    found = {each.check: each for each in check_start(state, settings)}
    assert set(found) == {"start of policy, gateway", "start of retrieval"}
    assert ISSUERS in found["start of policy, gateway"].detail
    assert KEYS in found["start of retrieval"].detail
    assert all(each.state is CheckState.FAIL and each.remedy for each in found.values())
    (site.folder / ".env").write_bytes(b"\xff\xfe")
    site.monkeypatch.chdir(site.folder)
    (broken,) = check_start(state, settings)
    assert broken.check == "start of policy, retrieval, gateway"
    assert ".env: not UTF-8" in broken.detail
    with pytest.raises(CommandFailure, match="not UTF-8"):
        read_dotenv(site.folder / ".env")


class Refusing(http.server.BaseHTTPRequestHandler):
    """A ChromaDB server that takes one key alone."""

    def do_GET(self) -> None:
        is_beating = self.path.endswith("/heartbeat")
        is_known = is_beating or self.headers.get("x-chroma-token") == "right"
        good = {"nanosecond heartbeat": 1} if is_beating else {"user_id": "", "tenant": "t", "databases": []}
        content = json.dumps(good if is_known else {"error": "Forbidden"}).encode()
        self.send_response(200 if is_known else 403)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def refusing_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "refuses the key"])
async def test_a_chromadb_server_that_does_not_serve_us_is_told_and_waited_for(is_gone: bool, site: Site) -> None:
    with refusing_server() as url:
        address = "http://127.0.0.1:1" if is_gone else url
        chroma = {"CHROMA_CONNECTION_STRING": address, "CHROMA_API_KEY": "" if is_gone else "wrong"}
        environment = site.environment("retrieval", tls=False) | chroma
        (line,) = await asyncio.to_thread(site.lines, "retrieval", environment, "--check")
        with capture_logs() as told:
            async with retrieval_app.running_retrieval(RetrievalSettings.model_validate(environment)):
                (lost,) = (each for each in told if each["event"] == "Vector store connection lost")
        assert line == f"vecsec retrieval: {lost['detail']}"
        assert f"CHROMA_CONNECTION_STRING={address}: " in line
        assert line.endswith("; start the server, or correct its address" if is_gone else "; set the right one")
        assert is_gone or "CHROMA_API_KEY" in line


def test_a_chromadb_server_that_takes_the_key_is_up() -> None:
    with refusing_server() as url, contextlib.closing(RemoteCellStore(url, api_key="right")) as store:
        store.heartbeat()
