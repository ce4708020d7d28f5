"""Grants verify only as the policy service signed them."""

import time
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.issuer import Issuer

from vecsec_chassis.auth.grants import GrantSigner, GrantVerifier, thumbprint
from vecsec_chassis.auth.keys import FileKeySource
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import ConfigurationError, InvalidGrant


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def signer(issuer: Issuer) -> GrantSigner:
    return GrantSigner.from_file(issuer.grant_key_file)


@pytest.fixture
def verifier(issuer: Issuer) -> GrantVerifier:
    return GrantVerifier(FileKeySource(issuer.grant_jwks_file, "VECSEC_GRANT_JWKS"))


def grant(**changes: object) -> Grant:
    usual = Grant(
        subject="alice",
        caller_tenant_id="tenant_a",
        role="analyst",
        tenant_id="tenant_a",
        action=Action.READ,
        residual="{}",
        may_configure=False,
        policy_version="v1",
        expires_at=time.time() + 30,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


async def test_a_grant_comes_back_as_it_was_signed(signer: GrantSigner, verifier: GrantVerifier) -> None:
    signed = grant()
    assert await verifier.verify(signer.sign(signed)) == signed


async def test_an_expired_grant_is_refused_also_when_it_was_cached(
    signer: GrantSigner, verifier: GrantVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signer.sign(grant(expires_at=time.time() + 30))
    await verifier.verify(token)
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(InvalidGrant):
        await verifier.verify(token)


async def test_altered_foreign_and_confused_grants_are_refused(
    issuer: Issuer, signer: GrantSigner, verifier: GrantVerifier
) -> None:
    good = signer.sign(grant())
    head, payload, signature = good.split(".")
    stranger = GrantSigner(Ed25519PrivateKey.generate(), thumbprint(issuer.grant_key))
    callers_token = issuer.token(key=issuer.grant_key, headers={"kid": thumbprint(issuer.grant_key)})
    unsigned = jwt.encode(jwt.decode(good, options={"verify_signature": False}), None, algorithm="none")
    for bad in (
        "",
        "garbage",
        good + "x" * 65_536,
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload[:-4]}AAAA.{signature}",
        stranger.sign(grant()),
        callers_token,
        unsigned,
        signer.sign(grant(tenant_id="../tenant_b")),
        signer.sign(grant(expires_at=time.time() - 60)),
    ):
        with pytest.raises(InvalidGrant) as refusal:
            await verifier.verify(bad)
        assert refusal.value.message == "the grant is missing, expired or not valid; plan access again"


def test_a_missing_or_half_written_key_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VECSEC_GRANT_KEY_FILE"):
        GrantSigner.from_file(tmp_path / "absent.pem")
    (tmp_path / "half.pem").write_text("-----BEGIN PRIVATE KEY-----\nMC4C")
    with pytest.raises(ConfigurationError, match="VECSEC_GRANT_KEY_FILE"):
        GrantSigner.from_file(tmp_path / "half.pem")
