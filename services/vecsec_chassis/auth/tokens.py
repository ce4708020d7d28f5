"""Verification of callers' tokens: signed JWTs of trusted issuers (RFC 7519, by the rules of RFC 8725)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecsec_chassis.auth.claim_mapping import Bounds, ClaimMapping
from vecsec_chassis.auth.issuers_file import SETTING, TrustedIssuer, load_trusted_issuers
from vecsec_chassis.auth.keys import FileKeySource, KeySource
from vecsec_chassis.auth.remote_keys import RemoteKeySource
from vecsec_chassis.auth.signatures import SignedText
from vecsec_chassis.auth.verification import Signatory, Verifier
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import InvalidToken

__all__ = ["BelievedIssuer", "TokenVerifier", "believed", "load_trusted_issuers"]


@dataclass(frozen=True, slots=True)
class BelievedIssuer:
    """A trusted issuer with all that its tokens are judged by."""

    trusted: TrustedIssuer
    """As the file says it."""
    signatory: Signatory
    mapping: ClaimMapping
    bounds: Bounds

    def has_keys_of(self, other: TrustedIssuer) -> bool:
        """Whether another version of the file looks for its keys in the same place."""
        return (self.trusted.issuer, self.trusted.jwks, self.trusted.address, self.trusted.keep_keys) == (
            other.issuer,
            other.jwks,
            other.address,
            other.keep_keys,
        )


def believed(issuer: TrustedIssuer, keys: KeySource | None = None) -> BelievedIssuer:
    """An issuer ready to be believed, with these keys or with new ones.

    Raises:
        ConfigurationError: naming the issuer, if its keys stand in a file that cannot be used.
    """
    keys = key_source_of(issuer) if keys is None else keys
    lifetime = issuer.bounds.max_lifetime
    signatory = Signatory(issuer.issuer, issuer.accepted_audiences, issuer.algorithms, keys, lifetime)
    return BelievedIssuer(issuer, signatory, issuer.mapping, issuer.limits)


def key_source_of(issuer: TrustedIssuer) -> KeySource:
    """Where an issuer's keys come from.

    Raises:
        ConfigurationError: naming the issuer, if they stand in a file that cannot be used.
    """
    if issuer.key_file is not None:
        return FileKeySource(issuer.key_file, f"{SETTING}, keys of {issuer.issuer!r}")
    return RemoteKeySource(issuer.issuer, issuer.address, kept_seconds=issuer.keep_keys)


class TokenVerifier(Verifier[Identity]):
    """Turns a bearer token into an Identity, or refuses it with InvalidToken."""

    maximum_characters = 8192
    required_claims = ("iss", "aud", "exp", "iat")
    clock_skew_seconds = 30.0

    def __init__(self, issuers: Sequence[TrustedIssuer]) -> None:
        """Read the issuers' keys.

        Raises:
            ConfigurationError: naming the issuer, if they stand in a file that cannot be used.
        """
        super().__init__()
        self._issuers: Mapping[str, BelievedIssuer] = {}
        self.first_issuer = ""
        """Whose callers go by their subject alone: see `caller_names`."""
        self.believe([believed(each) for each in issuers])

    @property
    def issuers(self) -> Sequence[BelievedIssuer]:
        """Those whose tokens are accepted."""
        return tuple(self._issuers.values())

    def believe(self, issuers: Sequence[BelievedIssuer]) -> None:
        """Accept the tokens of these issuers from now on, and no others; also none that was verified before."""
        self._issuers = {each.trusted.issuer: each for each in issuers}
        self.first_issuer = issuers[0].trusted.issuer
        self._forget()

    def _refusal(self, detail: str) -> InvalidToken:
        return InvalidToken(
            "the token is missing, expired or not valid; get a fresh one from your issuer", detail=detail
        )

    def _signatory(self, signed: SignedText) -> Signatory:
        claimed_issuer = signed.claims.get("iss")
        found = self._issuers.get(claimed_issuer) if isinstance(claimed_issuer, str) else None
        if found is None:
            raise self._refusal(f"unknown issuer {str(claimed_issuer)[:200]!r}")
        return found.signatory

    def _content(self, claims: Mapping[str, Any], signatory: Signatory) -> Identity:
        issuer = self._issuers.get(signatory.issuer)
        if issuer is None or issuer.signatory is not signatory:
            raise self._refusal(f"issuer {signatory.issuer!r} was withdrawn or changed meanwhile")
        identity = issuer.mapping.identity(
            claims,
            issuer=signatory.issuer,
            expires_at=float(claims["exp"]),
            is_first=signatory.issuer == self.first_issuer,
        )
        return issuer.bounds.demand(identity)
