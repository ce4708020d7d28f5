"""Grants on the wire: signed by the policy service, verified by the retrieval service (EdDSA JWS).

A caller's sets stand behind the JWS, `~` between them, and the JWS holds their hash: inside they would be written as
text twice over, which makes a thousand members a third longer. For the same reason the residual is then deflated. So a
grant with a thousand members and rules of a usual length has at most 16 KB.
"""

import hashlib
import time
import zlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import OKPKey

from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.auth.signatures import PublicKey, SignedText, sign
from vecsec_chassis.auth.verification import Signatory, Verifier
from vecsec_chassis.calls import unique_id
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.caller_sets import CallerSets
from vecsec_chassis.domain.errors import ConfigurationError, InvalidGrant
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_chassis.domain.label_schema import LabelSchema
from vecsec_chassis.domain.tenant_limits import StorageLimits
from vecsec_chassis.file_watch import demand_content

ISSUER = "vecsec-policy"
AUDIENCE = "vecsec-retrieval"
ALGORITHM = "EdDSA"

MOST_CLOCK_LEAD_SECONDS = 15.0
"""So far may the clock of the policy service be ahead of retrieval's. A grant from the future does no harm: by whom it
was signed is certain, and it ends as late as the clocks differ."""
_EXPIRY_SKEW_SECONDS = 2.0
"""A grant lives for seconds, so that what is given to it beyond its end is little."""
_TYPE = "vecsec-grant"
_SETS_BEHIND = "~"
_DEFLATED = "residual_deflated"
_MOST_RESIDUAL_BYTES = 1 << 20
_MEMBERS = "members behind the signed part"
"""No claim is called so: what a JWS says under this name is replaced."""


class GrantSigner:
    """Signs grants; only the policy service has its key."""

    def __init__(self, private_key: Ed25519PrivateKey, key_id: str) -> None:
        self._private_key = OKPKey.import_key(private_key)
        self.key_id = key_id
        """By which verifiers find the public half."""
        self.public_key: PublicKey = OKPKey.import_key(private_key.public_key())

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
        claims: dict[str, Any] = {
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
        if grant.label_schema is not None:
            claims["label_schema"] = grant.label_schema.to_names()
        if grant.storage is not None:
            claims["storage"] = asdict(grant.storage)
        behind = ""
        if grant.sets.members:
            joined = grant.sets.joined
            claims[_DEFLATED] = b64encode(zlib.compress(grant.residual.encode(), 9)).decode()
            del claims["residual"]
            claims["sets"] = {"sizes": grant.sets.sizes, "sha256": hashlib.sha256(joined).hexdigest()}
            behind = _SETS_BEHIND + urlsafe_b64encode(joined).decode().rstrip("=")
        return sign(claims, self._private_key, key_id=self.key_id, kind=_TYPE) + behind


class GrantVerifier(Verifier[Grant]):
    """Reads grants that the policy service signed, or refuses them with InvalidGrant."""

    maximum_characters = 65_536
    """As in the contract."""
    required_claims = ("iss", "aud", "sub", "iat", "exp", "jti")
    clock_skew_seconds = 86_400.0
    """More than clocks differ: times are looked at here, closer, and what is wrong with them is said."""

    def __init__(self, keys: KeySource, *, accepted_late_seconds: float = _EXPIRY_SKEW_SECONDS) -> None:
        """`accepted_late_seconds` is for how long after its end a grant still holds: who only looks at what was done
        with one lets it be late, a day at most."""
        super().__init__()
        self._accepted_late_seconds = accepted_late_seconds
        self.clock_lead_seconds = 0.0
        """How far in the future the grant was signed that was verified last, by this machine's clock: some
        milliseconds below 0, unless clocks differ."""
        self.refused_for_time = {"future": 0, "expired": 0}
        """How many grants of the policy service were refused for their time alone, by what was wrong with it."""
        self.late_seconds = 0.0
        """For how long the last of those that had expired had done so; 0 if there was none."""
        self._policy_service = Signatory(ISSUER, [AUDIENCE], [ALGORITHM], keys)

    async def verify(self, text: str) -> Grant:
        """See `Verifier.verify`; to be used, a grant holds for two seconds past its end, no longer."""
        grant = await super().verify(text)
        late = time.time() - grant.expires_at
        if late >= self._accepted_late_seconds:
            self.refused_for_time["expired"] += 1
            self.late_seconds = late
            raise self._refusal(
                f"expired {late:.0f} s ago; if it has just been planned, the clocks of the policy service and of this "
                "one differ"
            )
        return grant

    def _refusal(self, detail: str) -> InvalidGrant:
        return InvalidGrant("the grant is missing, expired or not valid; plan access again", detail=detail)

    def _signatory(self, signed: SignedText) -> Signatory:
        if signed.header.get("typ") != _TYPE:
            raise self._refusal("another kind of token")
        return self._policy_service

    def _without_attachment(self, text: str) -> tuple[str, Mapping[str, Any]]:
        signed, behind, members = text.partition(_SETS_BEHIND)
        return signed, {_MEMBERS: members if behind else None}

    def _content(self, claims: Mapping[str, Any], _signatory: Signatory) -> Grant:
        grant = Grant(
            subject=str(claims["sub"]),
            caller_tenant_id=str(claims["caller_tenant_id"]),
            role=str(claims["role"]),
            tenant_id=str(claims["tenant_id"]),
            action=Action(claims["action"]),
            residual=_residual(claims),
            may_configure=claims["may_configure"] is True,
            policy_version=str(claims["policy_version"]),
            expires_at=float(claims["exp"]),
            sets=_signed_sets(claims.get("sets"), claims[_MEMBERS]),
            label_schema=_label_schema(claims.get("label_schema")),
            storage=_storage(claims.get("storage")),
        )
        self.clock_lead_seconds = float(claims["iat"]) - time.time()
        if self.clock_lead_seconds > MOST_CLOCK_LEAD_SECONDS:
            self.refused_for_time["future"] += 1
            raise self._refusal(
                f"signed {self.clock_lead_seconds:.0f} s in the future: the clocks of the policy service and of this "
                f"one differ by more than {MOST_CLOCK_LEAD_SECONDS:.0f} s; synchronise them (NTP)"
            )
        if not is_tenant_id(grant.tenant_id):
            raise self._refusal("malformed tenant")
        return grant


def signed_part(text: str) -> str:
    """The JWS of a grant, without what stands behind it."""
    return text.partition(_SETS_BEHIND)[0]


def _residual(claims: Mapping[str, Any]) -> str:
    if _DEFLATED not in claims:
        return str(claims["residual"])
    inflating = zlib.decompressobj()
    try:
        text = inflating.decompress(b64decode(claims[_DEFLATED]), _MOST_RESIDUAL_BYTES)
    except zlib.error as error:
        raise ValueError("rules that are not deflated as they should be") from error
    if not inflating.eof:
        raise ValueError(f"rules of more than {_MOST_RESIDUAL_BYTES:,} bytes")
    return text.decode()


def _signed_sets(signed: Mapping[str, Any] | None, members: str | None) -> CallerSets:
    """The sets, which are what was signed.

    Raises:
        ValueError: if they are not, or if there are some where none were signed.
    """
    if signed is None and members is None:
        return CallerSets()
    if signed is None or members is None:
        raise ValueError("sets without a signature, or signed ones that are missing")
    joined = b64decode(members + "=" * (-len(members) % 4), altchars=b"-_", validate=True)
    if hashlib.sha256(joined).hexdigest() != signed["sha256"]:
        raise ValueError("other sets than those that were signed")
    return CallerSets.split(signed["sizes"], joined)


def _label_schema(names: Any) -> LabelSchema | None:
    if names is None:
        return None
    if not isinstance(names, dict):
        raise TypeError("label_schema is no object")
    return LabelSchema.from_names(names)


def _storage(limits: Any) -> StorageLimits | None:
    if limits is None:
        return None
    return StorageLimits(
        rows=int(limits["rows"]),
        bytes=int(limits["bytes"]),
        import_rows_per_second=float(limits["import_rows_per_second"]),
    )


def thumbprint(key: Ed25519PrivateKey) -> str:
    """The RFC 7638 thumbprint of the key's public half: the key id of the JWKS."""
    return OKPKey.import_key(key).thumbprint()
