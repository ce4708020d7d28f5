"""Grants on the wire: signed by the policy service, verified by the retrieval service (EdDSA JWS)."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.auth.verification import Signatory, Verifier
from vecsec_chassis.calls import unique_id
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import ConfigurationError, InvalidGrant
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.file_watch import demand_content

ISSUER = "vecsec-policy"
AUDIENCE = "vecsec-retrieval"
ALGORITHM = "EdDSA"

_TYPE = "vecsec-grant"


class GrantSigner:
    """Signs grants; only the policy service has its key."""

    def __init__(self, private_key: Ed25519PrivateKey, key_id: str) -> None:
        self._private_key = private_key
        self.key_id = key_id
        """By which verifiers find the public half."""

    @classmethod
    def from_file(cls, path: Path) -> "GrantSigner":
        """Read an Ed25519 private key in PEM (PKCS#8); its key id is its RFC 7638 thumbprint.

        Raises:
            ConfigurationError: if the file is missing, half-written or another kind of key.
        """
        content = demand_content(path, f"VECSEC_GRANT_KEY_FILE={path}")
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"VECSEC_GRANT_KEY_FILE={path}: no private key in PEM without a password, or half of one; "
                "write the whole file again"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                f"VECSEC_GRANT_KEY_FILE={path}: not an Ed25519 key but {type(key).__name__}; "
                "make one: openssl genpkey -algorithm ed25519"
            )
        return cls(key, thumbprint(key))

    def sign(self, grant: Grant) -> str:
        """The grant as a compact JWS."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": grant.subject,
            "iat": int(time.time()),
            "exp": grant.expires_at,
            "jti": unique_id(),
            "caller_tenant_id": grant.caller_tenant_id,
            "role": grant.role,
            "tenant_id": grant.tenant_id,
            "action": grant.action.value,
            "residual": grant.residual,
            "may_configure": grant.may_configure,
            "policy_version": grant.policy_version,
        }
        return jwt.encode(claims, self._private_key, algorithm=ALGORITHM, headers={"kid": self.key_id, "typ": _TYPE})


class GrantVerifier(Verifier[Grant]):
    """Reads grants that the policy service signed, or refuses them with InvalidGrant."""

    maximum_characters = 65_536
    """As in the contract."""
    required_claims = ("iss", "aud", "sub", "iat", "exp", "jti")
    clock_skew_seconds = 2.0
    """Services that share grants run on synchronised clocks; a grant lives for seconds, so the tolerance is small."""

    def __init__(self, keys: KeySource) -> None:
        super().__init__()
        self._policy_service = Signatory(ISSUER, AUDIENCE, [ALGORITHM], keys)

    def _refusal(self, detail: str) -> InvalidGrant:
        return InvalidGrant("the grant is missing, expired or not valid; plan access again", detail=detail)

    def _signatory(self, text: str, header: Mapping[str, Any]) -> Signatory:
        if header.get("typ") != _TYPE:
            raise self._refusal("another kind of token")
        return self._policy_service

    def _content(self, claims: Mapping[str, Any]) -> Grant:
        grant = Grant(
            subject=str(claims["sub"]),
            caller_tenant_id=str(claims["caller_tenant_id"]),
            role=str(claims["role"]),
            tenant_id=str(claims["tenant_id"]),
            action=Action(claims["action"]),
            residual=str(claims["residual"]),
            may_configure=claims["may_configure"] is True,
            policy_version=str(claims["policy_version"]),
            expires_at=float(claims["exp"]),
        )
        if not is_tenant_id(grant.tenant_id):
            raise self._refusal("malformed tenant")
        return grant


def thumbprint(key: Ed25519PrivateKey) -> str:
    """The RFC 7638 thumbprint of the key's public half: the key id of the JWKS."""
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    canonical = f'{{"crv":"{public["crv"]}","kty":"{public["kty"]}","x":"{public["x"]}"}}'
    return jwt.utils.base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()
