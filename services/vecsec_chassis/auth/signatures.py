"""Texts that are signed: compact JWS (RFC 7515), each read once, and made. Nothing here says who may sign what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry

PublicKey: TypeAlias = ECKey | OKPKey | RSAKey

ALLOWED_ALGORITHMS = frozenset({"Ed25519", "EdDSA", "ES256", "ES384", "RS256", "RS384", "PS256"})
"""Asymmetric algorithms only: with a shared secret every verifier could mint tokens."""

_NOT_UNDERSTOOD = ("crit", "b64")
"""What the header may not say: that something must be understood, of which nothing is, or that all is otherwise."""


class BadSignedText(Exception):
    """A text that cannot be read, or whose signature does not hold; the message says why, for the log alone."""


class _Algorithms(JWSRegistry):
    """The library's algorithms, of which those count that we allow.

    Its own list would warn of EdDSA, which RFC 9864 has split into Ed25519 and Ed448 and which most issuers
    go on to write.
    """

    max_header_length = 8_192
    """In base64: some issuers put their certificates in, which are not looked at."""
    max_payload_length = 131_072
    max_signature_length = 4_096

    def __init__(self) -> None:
        # A header may have members that nobody here knows (RFC 7515, section 4): they are passed over.
        super().__init__(algorithms=ALLOWED_ALGORITHMS, strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALLOWED_ALGORITHMS:
            raise UnsupportedAlgorithmError(f"{name[:40]!r} is not allowed")
        return self.algorithms[name]


_ALGORITHMS = _Algorithms()


@dataclass(frozen=True, slots=True)
class SignedText:
    """A text that was read, of which nothing is verified yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    _signature: CompactSignature

    @property
    def algorithm(self) -> str:
        """By which it says that it is signed."""
        return str(self.header["alg"])

    def verify(self, key: PublicKey) -> None:
        """See that it was signed with the private half of a key.

        Raises:
            BadSignedText: if it was not, or if the key is none of its algorithm.
        """
        try:
            holds = jws.validate_compact(self._signature, key, registry=_ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise BadSignedText(str(error)) from error
        if not holds:
            raise BadSignedText("the signature does not hold")


def read(text: str) -> SignedText:
    """Read a text, whose length the caller has seen to.

    Raises:
        BadSignedText: if it is no compact JWS with an object of JSON in it.
    """
    try:
        signature = jws.extract_compact(text.encode("ascii"), registry=_ALGORITHMS)
        _demand_plain_header(signature.protected)
        claims = json.loads(signature.payload, parse_constant=_refuse_constant)
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise BadSignedText(_what_is_wrong(error)) from error
    if not isinstance(claims, dict):
        raise BadSignedText("its payload is no object")
    return SignedText(signature.protected, claims, signature)


def _demand_plain_header(header: object) -> None:
    if not isinstance(header, dict):
        raise BadSignedText("its header is no object")
    for name in _NOT_UNDERSTOOD:
        if name in header:
            raise BadSignedText(f"its header says {name!r}")
    for name in ("alg", "kid"):
        if not isinstance(header.get(name, ""), str):
            raise BadSignedText(f"its header's {name} is no text")


def sign(claims: Mapping[str, Any], key: OKPKey, *, key_id: str, kind: str) -> str:
    """A compact JWS of claims, by Ed25519 under the name EdDSA; `kind` is the header's `typ`."""
    header = {"alg": "EdDSA", "kid": key_id, "typ": kind}
    payload = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact(header, payload, key, registry=_ALGORITHMS)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _what_is_wrong(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
