"""Grants verify only as the policy service signed them."""

import re
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
from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema


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


async def test_a_grant_tells_what_rows_may_carry_in_few_bytes(signer: GrantSigner, verifier: GrantVerifier) -> None:
    longest = {f"{number:02}".rjust(63, "a"): kind for number, kind in enumerate(list(AttributeType) * 16)}
    schema = LabelSchema.of(longest)
    token = signer.sign(grant(label_schema=schema))
    assert (await verifier.verify(token)).label_schema == schema
    assert len(token) - len(signer.sign(grant())) < 6_000


async def test_a_grant_with_half_a_schema_is_refused(signer: GrantSigner, verifier: GrantVerifier) -> None:
    class Odd:
        def to_names(self) -> object:
            return {"decimal": ["price"]}

    with pytest.raises(InvalidGrant):
        await verifier.verify(signer.sign(grant(label_schema=Odd())))


@pytest.mark.parametrize("lead", [-10, 0, 10, 14])
async def test_clocks_may_differ_by_some_seconds(
    lead: float, signer: GrantSigner, verifier: GrantVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with monkeypatch.context() as clock_of_the_policy_service:
        clock_of_the_policy_service.setattr(time, "time", lambda: now + lead)
        token = signer.sign(grant(expires_at=now + lead + 60))
    assert (await verifier.verify(token)).subject == "alice"
    assert lead - 30 < verifier.clock_lead_seconds <= lead


@pytest.mark.parametrize(
    ("lead", "complaint"),
    [
        (
            20,
            r"^signed (19|20) s in the future: the clocks of the policy service and of this one differ by more than",
        ),
        (
            -65,
            r"^expired \d+ s ago; if it has just been planned, the clocks of the policy service and",
        ),
    ],
)
async def test_beyond_that_the_log_names_the_clocks(
    lead: float, complaint: str, signer: GrantSigner, verifier: GrantVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with monkeypatch.context() as clock_of_the_policy_service:
        clock_of_the_policy_service.setattr(time, "time", lambda: now + lead)
        token = signer.sign(grant(expires_at=now + lead + 60))
    with pytest.raises(InvalidGrant) as refusal:
        await verifier.verify(token)
    assert refusal.value.message == "the grant is missing, expired or not valid; plan access again"
    assert re.search(complaint, refusal.value.detail or "")
    assert verifier.clock_lead_seconds > 15 or lead < 0
