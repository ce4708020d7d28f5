"""Tokens are accepted only as RFC 8725 wants them: THREATS.md row 13."""

import asyncio
import base64
import functools
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs
from support.issuer import Issuer, jwks

from vecsec_chassis.auth.grants import thumbprint
from vecsec_chassis.auth.keys import FileKeySource
from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.domain.errors import ConfigurationError, InvalidToken
from vecsec_chassis.domain.labels import Sensitivity


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(load_trusted_issuers(issuer.issuers_file))


async def test_a_good_token_gives_the_identity_it_claims(issuer: Issuer, verifier: TokenVerifier) -> None:
    identity = await verifier.verify(issuer.token("tenant_a", "analyst", "INTERNAL", "alice"))
    assert (identity.subject, identity.tenant_id, identity.role) == ("alice", "tenant_a", "analyst")
    assert identity.clearance is Sensitivity.INTERNAL


def unsigned(issuer: Issuer) -> str:
    return jwt.encode(jwt.decode(issuer.token(), options={"verify_signature": False}), None, algorithm="none")


def confused(issuer: Issuer) -> str:
    """HMAC with the public key's bytes as the secret, which a verifier that believes the header would accept."""
    public = issuer.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, public, algorithm="HS256", headers={"kid": thumbprint(issuer.key)})


def altered(issuer: Issuer) -> str:
    header, payload, signature = issuer.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["tenant_id"] = "tenant_b"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{header}.{forged}.{signature}"


BAD_TOKENS: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "not yet valid": lambda issuer: issuer.token(nbf=int(time.time()) + 300),
    "issued in the future": lambda issuer: issuer.token(iat=int(time.time()) + 300),
    "wrong issuer": lambda issuer: issuer.token(iss="https://evil.test"),
    "wrong audience": lambda issuer: issuer.token(aud="another-service"),
    "a grant's audience": lambda issuer: issuer.token(aud="vecsec-retrieval"),
    "no expiry": lambda issuer: issuer.token(exp=None),
    "no subject": lambda issuer: issuer.token(sub=None),
    "a subject with a line break": lambda issuer: issuer.token(subject="alice\nroot"),
    "half a surrogate pair in the subject": lambda issuer: issuer.token(subject="\ud800"),
    "half a surrogate pair in the role": lambda issuer: issuer.token(role="\ud800"),
    "line break in the role": lambda issuer: issuer.token(role="analyst\n"),
    "another key under the trusted key id": lambda issuer: issuer.token(key=Ed25519PrivateKey.generate()),
    "unknown key id": lambda issuer: issuer.token(headers={"kid": "unknown"}),
    "no key id": lambda issuer: issuer.token(headers={"kid": ""}),
    "alg none": unsigned,
    "key confusion": confused,
    "altered payload": altered,
    "not a token": lambda _: "garbage",
    "empty": lambda _: "",
    "huge": lambda issuer: issuer.token(padding="x" * 10_000),
    "no tenant": lambda issuer: issuer.token(tenant_id=None),
    "empty tenant": lambda issuer: issuer.token(tenant_id=""),
    "blank tenant": lambda issuer: issuer.token(tenant_id=" "),
    "null tenant": lambda issuer: issuer.token(tenant_id=["tenant_a"]),
    "tenant in capitals": lambda issuer: issuer.token(tenant_id="Tenant_A"),
    "tenant with a path": lambda issuer: issuer.token(tenant_id="../tenant_b"),
    "tenant with NUL": lambda issuer: issuer.token(tenant_id="tenant_a\0"),
    "tenant with a trailing dot": lambda issuer: issuer.token(tenant_id="tenant_a."),
    "tenant with a full-width letter": lambda issuer: issuer.token(tenant_id="ｔenant_a"),
    "reserved tenant": lambda issuer: issuer.token(tenant_id="con"),
    "unknown clearance": lambda issuer: issuer.token(clearance="ULTRA"),
    "clearance as a number": lambda issuer: issuer.token(clearance=4),
    "no role": lambda issuer: issuer.token(role=None),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_is_refused_with_the_same_text(kind: str, issuer: Issuer, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken) as refusal:
        await verifier.verify(BAD_TOKENS[kind](issuer))
    assert refusal.value.message == "the token is missing, expired or not valid; get a fresh one from your issuer"
    assert refusal.value.detail


async def test_an_expired_token_is_refused_although_it_was_cached(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    await verifier.verify(token)
    monkeypatch.setattr(time, "time", functools.partial(float, time.time() + 700))
    with pytest.raises(InvalidToken):
        await verifier.verify(token)


async def test_clock_skew_is_tolerated_within_its_bound(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert await verifier.verify(issuer.token(exp=int(time.time()) - 10))
    ahead = int(time.time()) + 10
    assert await verifier.verify(issuer.token(iat=ahead, nbf=ahead))


async def test_a_rotated_key_is_seen_and_the_old_one_is_dropped(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_chassis.auth.keys._FILE_CHECK_SECONDS", 0.0)
    old_token = issuer.token(subject="before")
    new_key = Ed25519PrivateKey.generate()
    (issuer.folder / "issuer.jwks.json").write_text(jwks(new_key))
    token = issuer.token(key=new_key, headers={"kid": thumbprint(new_key)})
    assert (await verifier.verify(token)).subject == "alice"
    with pytest.raises(InvalidToken):
        await verifier.verify(old_token)


@pytest.mark.parametrize("withdrawal", ["replaced", "emptied", "removed"])
async def test_a_withdrawn_key_takes_its_tokens_with_it(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch, withdrawal: str
) -> None:
    monkeypatch.setattr("vecsec_chassis.auth.keys._FILE_CHECK_SECONDS", 0.0)
    seen, unseen = issuer.token(subject="seen"), issuer.token(subject="unseen")
    assert await verifier.verify(seen)
    path = issuer.folder / "issuer.jwks.json"
    if withdrawal == "removed":
        path.unlink()
    else:
        path.write_text(jwks(Ed25519PrivateKey.generate()) if withdrawal == "replaced" else '{"keys": []}')
    for token in (seen, unseen):
        with pytest.raises(InvalidToken):
            await verifier.verify(token)


async def test_a_key_file_of_the_same_size_and_age_is_seen(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_chassis.auth.keys._FILE_CHECK_SECONDS", 0.0)
    path = issuer.folder / "issuer.jwks.json"
    token, before = issuer.token(), path.stat()
    path.write_text(jwks(Ed25519PrivateKey.generate()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    with pytest.raises(InvalidToken):
        await verifier.verify(token)


async def test_who_comes_while_a_withdrawal_is_looked_at_waits_for_it(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = issuer.folder / "issuer.jwks.json"
    source = FileKeySource(path, "VECSEC_ISSUERS_FILE")
    key_id = thumbprint(issuer.key)
    monkeypatch.setattr("vecsec_chassis.auth.keys._FILE_CHECK_SECONDS", 3600.0)
    assert await source.find(key_id)
    path.unlink()
    assert await source.find(key_id), "it is not time to look yet"
    monkeypatch.setattr(source, "_looked_at", -math.inf)
    assert await asyncio.gather(*(source.find(key_id) for _ in range(3))) == [None] * 3


@pytest.mark.parametrize(
    "content", ['{"keys": [', '{"keys": [{"kty": "oct", "d": "a secret", "k": 7}]}', "[" * 100_000]
)
async def test_a_half_written_key_file_leaves_the_last_good_keys_and_is_told_once(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("vecsec_chassis.auth.keys._FILE_CHECK_SECONDS", 0.0)
    (issuer.folder / "issuer.jwks.json").write_text(content)
    with capture_logs() as logs:
        for _ in range(3):
            assert await verifier.verify(issuer.token())
    (line,) = logs
    assert line["file"].endswith("issuer.jwks.json")
    assert line["reason"]
    assert "a secret" not in str(line)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"issuers": []}',
        '{"issuers": [{"issuer": "x", "audience": "vecsec", "jwks": "a", "algorithms": ["HS256"]}]}',
        '{"issuers": [{"issuer": "x", "audience": "vecsec", "jwks": "a", "algorithms": ["none"]}]}',
        '{"issuers": [{"issuer": "x", "audience": "", "jwks": "a", "algorithms": ["EdDSA"]}]}',
        '{"issuers": [{"issuer": "x", "audience": "vecsec", "jwks": "a", "algorithms": ["EdDSA"], "typo": 1}]}',
    ],
)
def test_a_broken_issuers_file_ends_the_start(content: str, tmp_path: Path) -> None:
    path = tmp_path / "issuers.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="VECSEC_ISSUERS_FILE"):
        load_trusted_issuers(path)


async def test_keys_that_cannot_be_read_are_no_fault_of_the_token(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told that the token is bad fetches another in vain, and nobody looks at the issuer."""

    async def garbage(_source: FileKeySource, _key_id: str) -> None:
        raise json.JSONDecodeError("Expecting value", "<html>", 0)

    monkeypatch.setattr(FileKeySource, "find", garbage)
    with pytest.raises(json.JSONDecodeError):
        await verifier.verify(issuer.token())
