"""What a text may look like before anybody believes it: made by hand, for no library would make it."""

import base64
import json
import time
import warnings
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.issuer import AUDIENCE, Issuer

from vecsec_chassis.auth.grants import thumbprint
from vecsec_chassis.auth.key_sets import keys_by_id
from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.domain.errors import InvalidToken

REFUSED = "the token is missing, expired or not valid; get a fresh one from your issuer"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(load_trusted_issuers(issuer.issuers_file))


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(issuer: Issuer, header: Any = None, payload: bytes | None = None, **changes: Any) -> str:
    """Signed by the trusted key, whatever it says."""
    usual = {"alg": "EdDSA", "kid": thumbprint(issuer.key), "typ": "JWT"}
    head = header if isinstance(header, bytes) else json.dumps(usual | (header or {})).encode()
    body = payload if payload is not None else json.dumps(claims(issuer) | changes).encode()
    signed = f"{encoded(head)}.{encoded(body)}"
    return f"{signed}.{encoded(issuer.key.sign(signed.encode()))}"


def claims(issuer: Issuer) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": issuer.name,
        "aud": AUDIENCE,
        "sub": "alice",
        "tenant_id": "tenant_a",
        "role": "analyst",
        "clearance": "INTERNAL",
        "iat": now,
        "exp": now + 600,
    }


def as_json(issuer: Issuer, name: str, literal: str) -> bytes:
    """Claims of which one is written as no encoder would write it."""
    text = json.dumps(claims(issuer) | {name: "PLACE"})
    return text.replace('"PLACE"', literal).encode()


async def detail_of(verifier: TokenVerifier, text: str) -> str:
    with pytest.raises(InvalidToken) as refusal:
        await verifier.verify(text)
    assert refusal.value.message == REFUSED
    assert refusal.value.detail
    return refusal.value.detail


async def test_what_is_made_by_hand_is_accepted_without_a_warning(issuer: Issuer, verifier: TokenVerifier) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        identity = await verifier.verify(by_hand(issuer, {"x5c": ["A" * 2000], "unheard-of": 1}))
    assert identity.subject == "alice"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"alg": "none"}, "not allowed"),
        ({"alg": "HS256"}, "not allowed"),
        ({"alg": "ES256"}, "not allowed"),
        ({"alg": None}, "no text"),
        ({"alg": ["EdDSA"]}, "no text"),
        ({"crit": ["exp"]}, "crit"),
        ({"crit": []}, "crit"),
        ({"crit": 5}, "crit"),
        ({"b64": False}, "b64"),
        ({"b64": True}, "b64"),
        ({"b64": False, "crit": ["b64"]}, "crit"),
        ({"kid": 7}, "kid is no text"),
        ({"kid": None}, "kid is no text"),
        ({"kid": ["a"]}, "kid is no text"),
        ({"kid": "x" * 5000}, "unknown key"),
        ({"typ": 5}, "typ"),
        (b"[]", "alg"),
        (b'["alg"]', "header is no object"),
        (b'"alg"', "header is no object"),
        (b'["alg", "b64"]', "list indices"),
        (b"5", "header"),
        (b"null", "header"),
        (b"{", "header"),
        (b"\xff", "header"),
        (b"[" * 3000, "nested too deeply"),
        (b"{}", "alg"),
    ],
)
async def test_headers(issuer: Issuer, verifier: TokenVerifier, header: Any, why: str) -> None:
    assert why in await detail_of(verifier, by_hand(issuer, header))


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"null", b"5", b'"text"', b"{", b"\xff\xfe", b"[" * 3000, b'{"a":' * 1000, b"9" * 5000]
)
async def test_payloads(issuer: Issuer, verifier: TokenVerifier, payload: bytes) -> None:
    assert await detail_of(verifier, by_hand(issuer, payload=payload))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "literal",
    [
        "1" + "0" * 400,
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "-1",
        "253402300800",
        "true",
        '"2000000000"',
        "[1]",
        "{}",
        "9" * 5000,
    ],
)
async def test_times_that_are_none(issuer: Issuer, verifier: TokenVerifier, name: str, literal: str) -> None:
    assert await detail_of(verifier, by_hand(issuer, payload=as_json(issuer, name, literal)))


async def test_a_fraction_of_a_second_is_a_time(issuer: Issuer, verifier: TokenVerifier) -> None:
    identity = await verifier.verify(by_hand(issuer, exp=time.time() + 60.25))
    assert identity.expires_at > time.time()


async def test_a_token_for_ever_is_refused(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert "of which its issuer may give" in await detail_of(verifier, by_hand(issuer, exp=253_402_300_799))


@pytest.mark.parametrize("audience", [[], ["another"], [AUDIENCE, 5], {"vecsec": 1}, 5, [[AUDIENCE]], True])
async def test_audiences_that_are_none_of_ours(issuer: Issuer, verifier: TokenVerifier, audience: object) -> None:
    assert "aud" in await detail_of(verifier, by_hand(issuer, aud=audience))


async def test_one_audience_among_several_will_do(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert await verifier.verify(by_hand(issuer, aud=["another", AUDIENCE]))


@pytest.mark.parametrize("name", ["sub", "role", "tenant_id"])
@pytest.mark.parametrize("character", ["\x85", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028", "\x7f", "\0", "\ufeff"])
async def test_characters_that_would_forge_what_people_read(
    issuer: Issuer, verifier: TokenVerifier, name: str, character: str
) -> None:
    assert name in await detail_of(verifier, by_hand(issuer, **{name: f"a{character}b"}))


async def test_base64_is_taken_as_it_is_written_alone(issuer: Issuer, verifier: TokenVerifier) -> None:
    """Else one signature would hold for many texts, and caches and logs would take them for different ones."""
    good = by_hand(issuer)
    header, payload, signature = good.split(".")
    assert await verifier.verify(good)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    another_ending = signature[:-1] + last[last.index(signature[-1]) + 1]
    for bad in (
        f"{header}.{payload}.{another_ending}",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature}\n",
        f" {header}.{payload}.{signature}",
        f"{header}.{payload[:20]} {payload[20:]}.{signature}",
        f"{header}.{payload[:20]}+{payload[20:]}.{signature}",
        f"{header}.{payload}é.{signature}",
        f"{header}.{payload}.{signature}.{signature}",
        f"{header}.{payload}..{signature}",
        f"{header}.{payload}",
        f"{header}..{signature}",
        f".{payload}.{signature}",
        f"{header}.{payload}.",
        "..",
    ):
        assert await detail_of(verifier, bad)


def published(issuer: Issuer, *, algorithms: list[str], **jwk: Any) -> TokenVerifier:
    content = json.loads(issuer.issuers_file.read_text())
    content["issuers"][0]["algorithms"] = algorithms
    issuer.issuers_file.write_text(json.dumps(content))
    (issuer.folder / "issuer.jwks.json").write_text(json.dumps({"keys": [jwk]}))
    return TokenVerifier(load_trusted_issuers(issuer.issuers_file))


@pytest.mark.parametrize(("algorithm", "curve"), [("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1())])
async def test_curves_belong_to_their_algorithm(issuer: Issuer, algorithm: str, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    verifier = published(issuer, algorithms=["ES256", "ES384"], **jwk, kid="k")
    assert await verifier.verify(jwt.encode(claims(issuer), key, algorithm=algorithm, headers={"kid": "k"}))
    other = "ES384" if algorithm == "ES256" else "ES256"
    good = jwt.encode(claims(issuer), key, algorithm=algorithm, headers={"kid": "k"})
    forged = encoded(json.dumps({"alg": other, "kid": "k"}).encode()) + good[good.index(".") :]
    assert "only" in await detail_of(verifier, forged)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "PS256"])
async def test_rsa(issuer: Issuer, algorithm: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    verifier = published(issuer, algorithms=[algorithm], **jwk, kid="k")
    assert await verifier.verify(jwt.encode(claims(issuer), key, algorithm=algorithm, headers={"kid": "k"}))


async def test_ed25519_by_its_own_name(issuer: Issuer) -> None:
    """As RFC 9864 calls what most issuers go on to call EdDSA."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(issuer.key.public_key(), as_dict=True)
    verifier = published(issuer, algorithms=["Ed25519"], **jwk, kid=thumbprint(issuer.key))
    assert await verifier.verify(by_hand(issuer, {"alg": "Ed25519"}))
    assert "not allowed" in await detail_of(verifier, by_hand(issuer))


async def test_a_key_for_encryption_verifies_nothing(issuer: Issuer) -> None:
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(issuer.key.public_key(), as_dict=True)
    verifier = published(issuer, algorithms=["EdDSA"], **(jwk | {"use": "enc"}), kid=thumbprint(issuer.key))
    assert "enc" in await detail_of(verifier, by_hand(issuer))


def test_keys_that_are_too_weak_secret_or_unheard_of_are_passed_over() -> None:
    weak = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
    good = jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True)
    keys = [
        {**weak, "kid": "weak"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "AKP", "pub": "x", "kid": "of tomorrow"},
        {**good, "x": 5, "kid": "broken"},
        {**good, "kid": 5},
        good,
        "text",
        {},
        {**good, "kid": "good"},
    ]
    assert list(keys_by_id(json.dumps({"keys": keys}).encode())) == ["good"]
    for bad in keys[:-1]:
        with pytest.raises(ValueError, match="none of its keys"):
            keys_by_id(json.dumps({"keys": [bad]}).encode())


TEXTS = st.text(max_size=20) | st.sampled_from(["EdDSA", "none", "vecsec", "https://issuer.test", "tenant_a", "SECRET"])
NUMBERS = st.integers() | st.floats() | st.just(10**400)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "jwk", "x5c", "iss", "aud", "sub", "exp", "iat", "nbf", "jti", "act", "role",
     "tenant_id", "clearance", "groups"]
)  # fmt: skip
CHANGES = st.dictionaries(NAMES, VALUES, max_size=4)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=CHANGES, payload=CHANGES)
async def test_whatever_is_signed_is_read_or_refused(
    issuer: Issuer, verifier: TokenVerifier, header: dict[str, Any], payload: dict[str, Any]
) -> None:
    """Nothing that somebody can write into a token is a fault of ours."""
    try:
        identity = await verifier.verify(by_hand(issuer, header, **payload))
    except InvalidToken as refusal:
        assert refusal.message == REFUSED
        assert refusal.detail
        return
    assert identity.subject.isprintable()
    assert identity.groups == tuple(sorted(set(identity.groups)))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,20}"))
async def test_whatever_is_sent_is_refused(verifier: TokenVerifier, text: str) -> None:
    assert await detail_of(verifier, text)
