"""Keys behind a URL while their host hangs, fails, rotates: the known are served, others told what is wrong."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs
from support.issuer import jwks
from support.key_server import Behaviour, KeyServer, running_key_server

from vecsec_chassis.auth import key_fetching, remote_keys
from vecsec_chassis.auth.grants import thumbprint
from vecsec_chassis.auth.key_fetching import KeyAddress, KeysNotFetched
from vecsec_chassis.auth.remote_keys import FRESH_SECONDS, RemoteKeySource
from vecsec_chassis.domain.errors import KeysUnavailable

KEY = Ed25519PrivateKey.generate()
KEY_ID = thumbprint(KEY)
KEPT_SECONDS = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with running_key_server(jwks(KEY)) as running:
        yield running


@pytest.fixture
def source(server: KeyServer, clock: Clock) -> RemoteKeySource:
    return RemoteKeySource(
        "https://issuer.test", KeyAddress(f"{server.url}/keys"), kept_seconds=KEPT_SECONDS, clock=clock
    )


async def fetch_ended(source: RemoteKeySource) -> None:
    async with asyncio.timeout(20):
        while source._fetching is not None:
            await asyncio.wait((source._fetching,))


async def test_a_known_key_is_fetched_once(source: RemoteKeySource, server: KeyServer) -> None:
    first = await source.find(KEY_ID)
    assert first is not None
    assert await source.find(KEY_ID) is first
    assert server.paths == ["/keys"]


async def test_made_up_key_ids_are_asked_for_once_in_some_seconds(
    source: RemoteKeySource, server: KeyServer, clock: Clock
) -> None:
    for number in range(50):
        assert await source.find(f"made up {number}") is None
    assert len(server.paths) == 1
    clock.now += 6
    assert await source.find("made up 0") is None, "it is remembered as unknown"
    assert len(server.paths) == 1
    assert await asyncio.gather(*(source.find(f"another {number}") for number in range(20))) == [None] * 20
    assert len(server.paths) == 2


async def test_a_rotated_key_is_found_when_it_is_first_used(
    source: RemoteKeySource, server: KeyServer, clock: Clock
) -> None:
    assert await source.find(KEY_ID)
    new = Ed25519PrivateKey.generate()
    server.keys = jwks(new)
    clock.now += 6
    assert await source.find(thumbprint(new))
    assert await source.find(KEY_ID) is None, "the old one was withdrawn"


async def test_a_key_that_is_as_it_was_stays_the_same_object(source: RemoteKeySource, clock: Clock) -> None:
    """By which verified tokens are remembered: a refresh costs nobody a signature."""
    key = await source.find(KEY_ID)
    clock.now += FRESH_SECONDS + 1
    source.look()
    await fetch_ended(source)
    assert await source.find(KEY_ID) is key
    assert source.state.age_seconds == 0.0


@pytest.mark.parametrize("behaviour", ["fail", "garbage", "hang", "endless", "redirect"])
async def test_the_last_good_keys_stay_for_a_bounded_time(
    source: RemoteKeySource,
    server: KeyServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour,
) -> None:
    assert await source.find(KEY_ID)
    if behaviour == "hang":  # the others end by themselves, however busy the machine is
        monkeypatch.setattr(key_fetching, "TIMEOUT_SECONDS", 0.2)
    server.behaviour, server.redirects_to = behaviour, "ftp://elsewhere.test/keys"
    clock.now += FRESH_SECONDS + 1
    with capture_logs() as logs:
        for _ in range(3):
            assert await source.find(KEY_ID), "nobody waits for it who is known"
            await fetch_ended(source)
            clock.now += 6
    assert [line["event"] for line in logs] == ["Keys of an issuer cannot be fetched, the last good ones stay"]
    assert source.state.problem
    with pytest.raises(KeysUnavailable):
        await source.find("perhaps a new one")
    await fetch_ended(source)
    clock.now += KEPT_SECONDS
    with pytest.raises(KeysUnavailable) as told:
        await source.find(KEY_ID)
    assert "fresh" not in told.value.message
    assert told.value.retry_after is not None
    await fetch_ended(source)
    monkeypatch.setattr(key_fetching, "TIMEOUT_SECONDS", 10.0)
    server.behaviour = "answer"
    server.going_on.set()
    clock.now += 6
    assert await source.find(KEY_ID), "it came back"
    assert source.state.problem is None


async def test_a_host_that_refuses_is_no_fault_of_the_token(clock: Clock) -> None:
    with running_key_server(jwks(KEY)) as gone:
        address = KeyAddress(f"{gone.url}/keys")
    source = RemoteKeySource("https://issuer.test", address, kept_seconds=KEPT_SECONDS, clock=clock)
    with pytest.raises(KeysUnavailable, match="cannot be had now"):
        await source.find(KEY_ID)
    assert "refused" in str(source.state.problem)


async def test_a_set_without_keys_withdraws_all(source: RemoteKeySource, server: KeyServer, clock: Clock) -> None:
    assert await source.find(KEY_ID)
    server.keys = '{"keys": []}'
    clock.now += FRESH_SECONDS + 1
    source.look()
    await fetch_ended(source)
    assert await source.find(KEY_ID) is None


async def test_a_withdrawn_key_is_not_found_by_who_comes_first_after_long(
    source: RemoteKeySource, server: KeyServer, clock: Clock
) -> None:
    """Where nobody looks beside the calls: retrieval, with a URL for the keys of grants."""
    assert await source.find(KEY_ID)
    server.keys = jwks(Ed25519PrivateKey.generate())
    clock.now += 10 * FRESH_SECONDS
    assert await source.find(KEY_ID) is None


async def test_a_host_that_hangs_holds_one_thread_and_none_of_the_pool(
    source: RemoteKeySource, server: KeyServer
) -> None:
    server.behaviour = "hang"
    before = threading.active_count()
    asking = [asyncio.create_task(source.find(f"made up {number}")) for number in range(64)]
    await asyncio.sleep(0)
    try:
        begun = time.monotonic()
        await asyncio.to_thread(lambda: None)
        assert time.monotonic() - begun < 1.0
        assert sum(thread.name == "fetch keys" for thread in threading.enumerate()) == 1
        assert threading.active_count() <= before + 4  # that one, the pool's first, and the server's
    finally:
        server.going_on.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(result) for result in results} == {KeysUnavailable}


async def test_who_is_given_up_on_is_not_asked_by_a_second_thread(
    source: RemoteKeySource, server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_keys, "_WAIT_SECONDS", 0.1)
    server.behaviour = "hang"
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await source.find(KEY_ID)
        clock.now += 60
    assert len(server.paths) == 1
    server.behaviour = "answer"
    server.going_on.set()
    await fetch_ended(source)


def test_an_answer_that_drips_ends(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_fetching, "TIMEOUT_SECONDS", 0.2)
    server.behaviour = "drip"
    with pytest.raises(KeysNotFetched, match="in time"):
        KeyAddress(f"{server.url}/keys").fetch()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[KeyServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with running_key_server(jwks(KEY), context=context) as running:
        yield running


def test_a_host_is_believed_by_its_authority_and_believes_the_token_of_the_file(
    tls_server: KeyServer, tmp_path: Path
) -> None:
    url = f"{tls_server.url}/keys"
    token_file = tmp_path / "token"
    tls_server.token = "first"
    token_file.write_text("first\n")
    with pytest.raises(KeysNotFetched, match=r"(?i)certificate"):
        KeyAddress(url).fetch()
    with pytest.raises(KeysNotFetched, match="HTTP 401"):
        KeyAddress(url, ca_file=tmp_path / "ca.pem").fetch()
    address = KeyAddress(url, ca_file=tmp_path / "ca.pem", token_file=token_file)
    assert address.fetch() == jwks(KEY).encode()
    tls_server.token = "second"
    token_file.write_text("second")
    assert address.fetch(), "the file is read each time"
    token_file.unlink()
    with pytest.raises(KeysNotFetched, match="token: No such file"):
        address.fetch()
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(KeysNotFetched, match=r"(?i)certificate|start line|x509"):
        KeyAddress(url, ca_file=tmp_path / "ca.pem").fetch()
    with pytest.raises(KeysNotFetched, match=r"absent\.pem: No such file"):
        KeyAddress(url, ca_file=tmp_path / "absent.pem").fetch()


def test_keys_do_not_leave_tls_by_a_redirection(tls_server: KeyServer, server: KeyServer, tmp_path: Path) -> None:
    tls_server.behaviour, tls_server.redirects_to = "redirect", f"{server.url}/keys"
    with pytest.raises(KeysNotFetched, match="no TLS"):
        KeyAddress(f"{tls_server.url}/keys", ca_file=tmp_path / "ca.pem").fetch()
    assert server.paths == []


def test_the_token_does_not_follow_a_redirection(server: KeyServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    with running_key_server(jwks(KEY)) as other:
        other.token = "secret"
        server.behaviour, server.redirects_to = "redirect", f"{other.url}/keys"
        with pytest.raises(KeysNotFetched, match="HTTP 401"):
            KeyAddress(f"{server.url}/keys", token_file=tmp_path / "token").fetch()


def test_keys_are_discovered(server: KeyServer) -> None:
    server.discovery = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
    assert KeyAddress("", discovered_for=server.url).fetch() == jwks(KEY).encode()
    assert server.paths == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"issuer": "https://evil.test", "jwks_uri": "http://127.0.0.1:1/keys"}, "speaks for issuer"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, "no OpenID configuration"),
        ({"issuer": "ITSELF"}, "no OpenID configuration"),
        ({"issuer": "ITSELF/", "jwks_uri": "http://127.0.0.1:1/keys"}, "speaks for issuer"),
        ({"issuer": "ITSELF", "jwks_uri": "file:///etc/passwd"}, "no URL"),
    ],
)
def test_a_configuration_of_somebody_else_is_refused(server: KeyServer, said: dict[str, str], problem: str) -> None:
    server.discovery = {name: value.replace("ITSELF", server.url) for name, value in said.items()}
    with pytest.raises(KeysNotFetched, match=problem):
        KeyAddress("", discovered_for=server.url).fetch()
