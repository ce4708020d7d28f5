"""The issuers file changes while callers call: what is good is in force at once, what is wrong changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from structlog.testing import capture_logs
from support.issuer import AUDIENCE, Issuer, jwks
from support.key_server import KeyServer, running_key_server

from vecsec_chassis.auth.watched_issuers import WatchedIssuers
from vecsec_chassis.domain.errors import InvalidToken, KeysUnavailable

ANOTHER_FIRST = "rules that name callers by tenant and subject mean those of another issuer now: "


@pytest.fixture
def first(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def second(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "second", name="https://second.test")


@pytest.fixture
def server(second: Issuer) -> Iterator[KeyServer]:
    with running_key_server(jwks(second.key)) as running:
        yield running


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(first: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> WatchedIssuers:
    monkeypatch.setattr("vecsec_chassis.file_watch.POLL_SECONDS", 0.01)
    return WatchedIssuers(first.issuers_file, NoOpMeterProvider().get_meter("test"), clock=clock)


def entry(issuer: Issuer, keys: str, **changes: Any) -> dict[str, Any]:
    return {"issuer": issuer.name, "audience": AUDIENCE, "jwks": keys, "algorithms": ["EdDSA"]} | changes


def write(first: Issuer, *entries: dict[str, Any]) -> None:
    first.issuers_file.write_text(json.dumps({"issuers": entries}))


async def looked(watched: WatchedIssuers) -> list[str]:
    """What the log says once the file was judged, if it has changed."""
    with capture_logs() as logs:
        await watched.look()
        await watched.look()
    return [f"{line['event']}: {line.get('reason', '')}" for line in logs]


async def test_a_new_issuer_is_believed_and_a_withdrawn_one_no_more(
    watched: WatchedIssuers, first: Issuer, second: Issuer
) -> None:
    verifier = watched.verifier
    tokens = first.token(), second.token()
    assert await verifier.verify(tokens[0])
    with pytest.raises(InvalidToken):
        await verifier.verify(tokens[1])
    write(first, entry(second, "second/issuer.jwks.json"))
    assert await looked(watched) == [ANOTHER_FIRST, "issuers taken anew: "]
    assert (await verifier.verify(tokens[1])).issuer == second.name
    with pytest.raises(InvalidToken) as refused:
        await verifier.verify(tokens[0])  # although it was verified before
    assert "unknown issuer" in str(refused.value.detail)


async def test_changed_bounds_hold_for_tokens_that_were_verified_before(watched: WatchedIssuers, first: Issuer) -> None:
    token = first.token("tenant_a")
    assert await watched.verifier.verify(token)
    write(first, entry(first, "issuer.jwks.json", bounds={"tenants": ["tenant_b"]}))
    await looked(watched)
    with pytest.raises(InvalidToken) as refused:
        await watched.verifier.verify(token)
    assert "may not speak for tenant 'tenant_a'" in str(refused.value.detail)


async def test_groups_are_bounded_live_and_the_bound_is_not_lost_by_a_file_cut_short(
    watched: WatchedIssuers, first: Issuer
) -> None:
    token = first.token("tenant_a", groups=["law", "hr"])
    assert (await watched.verifier.verify(token)).groups == ("hr", "law")
    write(first, entry(first, "issuer.jwks.json", bounds={"groups": ["law"]}))
    await looked(watched)
    assert (await watched.verifier.verify(token)).groups == ("law",)
    write(first, entry(first, "issuer.jwks.json"))
    assert "has lost its bound 'groups'" in (await looked(watched))[-1]
    assert (await watched.verifier.verify(token)).groups == ("law",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "no list of trusted issuers, or half of one"),
        ('{"issuers": []}', "no list of trusted issuers"),
        (None, "the file is gone; put it back"),
        (
            '{"issuers": [{"issuer": "x", "audience": "y", "jwks": "absent.json", "algorithms": ["EdDSA"]}]}',
            "absent.json: No such file",
        ),
        (
            '{"issuers": [{"issuer": "x", "audience": "y", "jwks": "empty.json", "algorithms": ["EdDSA"]}]}',
            "would lock everybody out, for no issuer is left whose keys can be read ('x': its set of keys is empty)",
        ),
        (
            '{"issuers": [{"issuer": "x", "audience": "y", "jwks": "http://127.0.0.1:1/", "algorithms": ["EdDSA"]}]}',
            "would lock everybody out, for no issuer is left whose keys can be read ('x': http://127.0.0.1:1/: ",
        ),
    ],
)
async def test_a_wrong_file_is_told_once_and_the_last_good_one_stays(
    watched: WatchedIssuers, first: Issuer, content: str | None, why: str
) -> None:
    (first.folder / "empty.json").write_text('{"keys": []}')
    good = first.issuers_file.read_text()
    if content is None:
        first.issuers_file.unlink()
    else:
        first.issuers_file.write_text(content)
    line = (await looked(watched))[-1]
    assert line.startswith("changed issuers refused, the last good ones stay: VECSEC_ISSUERS_FILE")
    assert why in line
    assert await looked(watched) == []
    assert not watched.is_well
    assert await watched.verifier.verify(first.token())
    first.issuers_file.write_text(good)
    assert await looked(watched) == ["issuers taken anew: "]
    assert watched.is_well


async def test_a_file_that_waits_for_keys_is_judged_again(
    watched: WatchedIssuers, first: Issuer, second: Issuer, server: KeyServer, clock: Clock
) -> None:
    server.behaviour = "fail"
    write(first, entry(second, f"{server.url}/keys"))
    line = (await looked(watched))[-1]
    assert "HTTP 500" in line
    server.behaviour = "answer"
    clock.now += 11
    assert await looked(watched) == ["Keys of an issuer taken: ", ANOTHER_FIRST, "issuers taken anew: "]
    assert (await watched.verifier.verify(second.token())).issuer == second.name


async def test_a_key_file_that_comes_later_than_the_file_that_names_it(
    watched: WatchedIssuers, first: Issuer, second: Issuer, clock: Clock
) -> None:
    write(first, entry(second, "late.json"))
    assert "late.json: No such file" in (await looked(watched))[-1]
    (first.folder / "late.json").write_text(jwks(second.key))
    assert await looked(watched) == []
    clock.now += 11
    assert await looked(watched) == [ANOTHER_FIRST, "issuers taken anew: "]


async def test_an_issuer_without_keys_beside_one_with_keys_is_an_outage_of_its_own(
    watched: WatchedIssuers, first: Issuer, second: Issuer, server: KeyServer
) -> None:
    server.behaviour = "fail"
    write(first, entry(first, "issuer.jwks.json"), entry(second, f"{server.url}/keys"))
    assert (await looked(watched))[-1] == "issuers taken anew: "
    assert not watched.is_well
    assert await watched.verifier.verify(first.token())
    with pytest.raises(KeysUnavailable):
        await watched.verifier.verify(second.token())


async def test_keys_stay_where_they_are_looked_for_in_the_same_place(
    watched: WatchedIssuers, first: Issuer, second: Issuer, server: KeyServer
) -> None:
    """So that a change of the file during an outage takes no keys away."""
    write(first, entry(first, "issuer.jwks.json"), entry(second, f"{server.url}/keys"))
    await looked(watched)
    server.behaviour = "fail"
    write(first, entry(first, "issuer.jwks.json"), entry(second, f"{server.url}/keys", audience="another"))
    await looked(watched)
    assert await watched.verifier.verify(second.token(aud="another"))
    assert server.paths == ["/keys"]


@pytest.mark.parametrize("bound", ["groups", "tenants", "roles", "max_clearance", "max_lifetime"])
async def test_threat_25_a_bound_with_nothing_behind_it_is_not_taken(
    first: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """As in a file that was cut short behind the colon."""
    monkeypatch.setattr("vecsec_chassis.file_watch.POLL_SECONDS", 0.01)
    head = (
        f"issuers:\n  - issuer: {first.name}\n    audience: {AUDIENCE}\n    jwks: issuer.jwks.json\n"
        "    algorithms: [EdDSA]\n    bounds:\n"
    )
    values = {"groups": "[law]", "tenants": "[tenant_a]", "roles": "[analyst]", "max_lifetime": "1d"}
    file = first.issuers_file.with_suffix(".yaml")
    file.write_text(f"{head}      {bound}: {values.get(bound, 'SECRET')}\n")
    watched = WatchedIssuers(file, NoOpMeterProvider().get_meter("test"), clock=clock)
    token = first.token("tenant_a", "analyst", groups=["law", "hr"])
    before = await watched.verifier.verify(token)
    file.write_text(f"{head}      {bound}:\n")
    [told] = await looked(watched)
    assert told.startswith("changed issuers refused, the last good ones stay: ")
    assert f"nothing stands behind {bound!r}; leave it out" in told
    assert (await watched.verifier.verify(token)).groups == before.groups


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_threat_25_a_bound_is_not_lost_with_the_end_of_a_file(
    first: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr("vecsec_chassis.file_watch.POLL_SECONDS", 0.01)
    bounds = ["      tenants: [tenant_a]\n", "      roles: [analyst]\n", "      max_clearance: INTERNAL\n"]
    whole = (
        f"issuers:\n  - issuer: {first.name}\n    audience: {AUDIENCE}\n    jwks: issuer.jwks.json\n"
        "    algorithms: [EdDSA]\n    bounds:\n"
    )
    file = first.issuers_file.with_suffix(".yaml")
    file.write_text(whole + "".join(bounds))
    watched = WatchedIssuers(file, NoOpMeterProvider().get_meter("test"), clock=clock)
    cut = whole.removesuffix("    bounds:\n") if kept == 0 else whole + "".join(bounds[:kept])
    file.write_text(cut)
    [told] = await looked(watched)
    assert told.startswith("changed issuers refused, the last good ones stay: ")
    assert "has lost its bound 'max_clearance'" in told
    with pytest.raises(InvalidToken):
        await watched.verifier.verify(first.token("tenant_a", "analyst", "SECRET"))
    file.write_text(whole + "".join(bounds).replace("INTERNAL", "SECRET"))
    assert await looked(watched) == ["issuers taken anew: "]
    assert await watched.verifier.verify(first.token("tenant_a", "analyst", "SECRET"))
