"""Sets of public keys (JWKS, RFC 7517), as issuers publish them."""

import json
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from vecsec_chassis.auth.signatures import PublicKey

_KINDS: dict[object, type[PublicKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
"""By `kty`; secrets that are shared (`oct`) are none of ours."""
_SHORTEST_MODULUS = 341
"""In base64: RFC 7518 wants 2,048 bits."""


def keys_by_id(text: bytes) -> dict[str, PublicKey]:
    """The keys of a set by their ids. What has no id, or is of a kind that is not known here, is passed over.

    Raises:
        ValueError: if this is no set of keys, or one of which none can be used. The text tells nothing of keys.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no object with a list of keys")  # noqa: TRY004 (of a file, as all else that is wrong with it)
    found, problem = {}, ""
    for entry in entries:
        try:
            key = _key(entry)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            problem = f": {type(error).__name__}"
            continue
        if key is not None and isinstance(key.kid, str):
            found[key.kid] = key
    if entries and not found:
        raise ValueError(f"none of its keys has an id and can be used{problem}")
    return found


def _key(entry: Any) -> PublicKey | None:
    kind = _KINDS.get(entry["kty"])
    if kind is None:
        return None
    if kind is RSAKey and len(entry["n"]) < _SHORTEST_MODULUS:
        raise ValueError("RSA keys of less than 2,048 bits are none")
    return kind.import_key(entry)
