"""An issuer for tests: real Ed25519 keys, real JWKS files, tokens good and bad."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vecsec_chassis.auth.grants import thumbprint

AUDIENCE = "vecsec"


def jwks(*keys: Ed25519PrivateKey) -> str:
    """The public JWKS of some private keys."""
    return json.dumps(
        {
            "keys": [
                {
                    **jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True),
                    "kid": thumbprint(key),
                    "use": "sig",
                    "alg": "EdDSA",
                }
                for key in keys
            ]
        }
    )


def pem(key: Ed25519PrivateKey) -> bytes:
    """The private key in PEM (PKCS#8)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Issuer:
    """A trusted issuer whose keys and issuers file lie in `folder`."""

    folder: Path
    name: str = "https://issuer.test"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    grant_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "issuer.jwks.json").write_text(jwks(self.key))
        (self.folder / "grant.jwks.json").write_text(jwks(self.grant_key))
        (self.folder / "grant.pem").write_bytes(pem(self.grant_key))
        issuer = {"issuer": self.name, "audience": AUDIENCE, "jwks": "issuer.jwks.json", "algorithms": ["EdDSA"]}
        self.issuers_file.write_text(json.dumps({"issuers": [issuer]}))

    @property
    def issuers_file(self) -> Path:
        return self.folder / "issuers.json"

    @property
    def grant_key_file(self) -> Path:
        return self.folder / "grant.pem"

    @property
    def grant_jwks_file(self) -> Path:
        return self.folder / "grant.jwks.json"

    def token(
        self,
        tenant_id: str = "tenant_a",
        role: str = "analyst",
        clearance: str = "INTERNAL",
        subject: str = "alice",
        *,
        key: Ed25519PrivateKey | None = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token; further claims override or, if None, remove the usual ones."""
        now = int(time.time())
        usual = {
            "iss": self.name,
            "aud": AUDIENCE,
            "sub": subject,
            "tenant_id": tenant_id,
            "role": role,
            "clearance": clearance,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        signing_key = key or self.key
        return jwt.encode(
            payload, signing_key, algorithm="EdDSA", headers={"kid": thumbprint(self.key), **(headers or {})}
        )
