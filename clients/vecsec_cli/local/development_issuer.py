"""The issuer of a local installation: keys in the state directory, and tokens signed with them.

There is no mode without authentication: a local start makes its own issuer, so that the first command a newcomer types
takes the same path as production. Whoever can read `keys/issuer.pem` can be anybody; it is readable by its owner only.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from joserfc import jws
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import OKPKey

from vecsec_cli.local import state_files
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

ISSUER = "https://issuer.vecsec.localhost"
AUDIENCE = "vecsec"
_ALGORITHM = "EdDSA"
"""The name that the issuers files of older state directories list; RFC 9864 calls the same Ed25519."""


class _AnyAlgorithm(jws.JWSRegistry):
    """The library's algorithms without its warnings, of which one is of that name."""

    def get_alg(self, name: str) -> JWSAlgModel:
        return self.algorithms[name]


_ANY_ALGORITHM = _AnyAlgorithm()


def ensure(state: StateDirectory) -> None:
    """Create whatever is missing of the issuer's and the grants' keys and of the list of trusted issuers.

    What exists stays as it is. Several processes may do this at once: they end up with the same keys.

    Raises:
        CommandFailure: if existing files do not fit together.
        OSError: if the directory cannot be written.
    """
    state.keys.mkdir(parents=True, exist_ok=True)
    state.keys.chmod(0o700)
    for key_file, key_set_file in ((state.issuer_key, state.issuer_jwks), (state.grant_key, state.grant_jwks)):
        state_files.create(key_file, new_key_pem(), mode=0o600)
        key = read_key(key_file)
        if not state_files.create(key_set_file, key_set([public_jwk(key)])):
            _check_published(key, key_file, key_set_file)
    issuer = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks": str(state.issuer_jwks.relative_to(state.root)),
        "algorithms": [_ALGORITHM],
    }
    state_files.create(state.issuers_file, state_files.as_json({"issuers": [issuer]}))


def mint_token(
    state: StateDirectory,
    *,
    subject: str,
    tenant_id: str,
    role: str,
    clearance: str,
    lifetime_seconds: int,
    groups: Sequence[str] = (),
) -> str:
    """Sign a token that the services of this installation accept.

    Raises:
        CommandFailure: if the state directory has no issuer, or its key cannot be read.
    """
    if not state.issuer_key.exists():
        raise CommandFailure(
            f"{state.root} has no issuer of tokens yet",
            hint="`vecsec up` creates it; name another state directory with --state-dir or VECSEC_STATE_DIR",
        )
    key = read_key(state.issuer_key)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "tenant_id": tenant_id,
        "role": role,
        "clearance": clearance,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_seconds,
        **({"groups": list(groups)} if groups else {}),
    }
    header = {"alg": _ALGORITHM, "kid": public_jwk(key)["kid"], "typ": "JWT"}
    return jws.serialize_compact(header, json.dumps(claims), OKPKey.import_key(key), registry=_ANY_ALGORITHM)


def new_key_pem() -> bytes:
    """A new private key (Ed25519) in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a file.

    Raises:
        CommandFailure: if it cannot be read, or is none of ours.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CommandFailure(f"{path} is not a private key that can be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CommandFailure(f"{path} must be an Ed25519 key, not {type(key).__name__}")
    return key


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """The public half as a JWK; its key id is its thumbprint by RFC 7638."""
    published = OKPKey.import_key(key.public_key())
    members = {name: str(published[name]) for name in ("crv", "kty", "x")}
    return {**members, "kid": published.thumbprint(), "alg": _ALGORITHM, "use": "sig"}


def key_set(keys: Sequence[Mapping[str, object]]) -> bytes:
    """A set of public keys as its file holds it."""
    return state_files.as_json({"keys": list(keys)})


def _check_published(key: Ed25519PrivateKey, key_file: Path, key_set_file: Path) -> None:
    """Keys may be rotated by hand: then the set must hold the new one too, or nothing it signs is accepted."""
    try:
        published = {entry["x"] for entry in json.loads(key_set_file.read_bytes())["keys"] if "x" in entry}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailure(f"{key_set_file} is not a set of public keys: {error!r}") from error
    if public_jwk(key)["x"] not in published:
        raise CommandFailure(
            f"{key_set_file} does not publish the key in {key_file}, so nothing it signs would be accepted",
            hint=f"remove {key_set_file}; the next `vecsec up` writes it anew",
        )
