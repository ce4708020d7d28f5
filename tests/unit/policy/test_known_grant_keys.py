"""Public keys of grants outlast the service, in a file that cannot grow without end."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from vecsec_chassis.auth.grants import GrantSigner, thumbprint
from vecsec_policy.reload import known_grant_keys
from vecsec_policy.reload.known_grant_keys import KnownGrantKeys, known_keys_file


def signer() -> GrantSigner:
    key = Ed25519PrivateKey.generate()
    return GrantSigner(key, thumbprint(key))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return known_keys_file(tmp_path / "policy.jsonl")


async def test_the_keys_that_signed_last_are_kept(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_grant_keys, "_MOST_KEYS", 3)
    first, second, third, fourth = (signer() for _ in range(4))
    for each in (first, second, third, first, fourth):
        KnownGrantKeys(file).learn(each, tmp_path)  # a start of the service each
    keys = KnownGrantKeys(file)
    assert [await keys.find(each.key_id) is not None for each in (first, second, third, fourth)] == [
        True,
        False,
        True,
        True,
    ]
    assert [key["kid"] for key in json.loads(file.read_text())["keys"]] == [
        third.key_id,
        first.key_id,
        fourth.key_id,
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["policy.grant-keys.json"]


async def test_where_they_cannot_be_kept_they_hold_until_the_service_ends(tmp_path: Path, file: Path) -> None:
    file.mkdir()  # nothing can be put in its place
    (file / "something").touch()
    signing = signer()
    with capture_logs() as lines:
        known = KnownGrantKeys(file)
        file.with_name(f"{file.name}.damaged").rename(file)
        known.learn(signing, tmp_path)
    assert await known.find(signing.key_id) is not None
    assert [line["event"] for line in lines] == [
        "grant keys of earlier runs cannot be read and do not hold: what their grants did is not taken down",
        "grant keys cannot be kept for the next run: uses told after a restart may be refused",
    ]
