"""What tokens and grants have in common: JWTs that hold only as their signatory's keys, and the clock, say now.

Which key, its signature, by whom, for whom and until when is settled here; what else a token or a grant must say is
its own file's matter.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from cachetools import LRUCache

from vecsec_chassis.auth.claim_rules import UnusableClaims
from vecsec_chassis.auth.claims import demand_audience, demand_claims, demand_time
from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.auth.signatures import BadSignedText, PublicKey, SignedText, read
from vecsec_chassis.domain.access import Grant, Identity
from vecsec_chassis.domain.errors import VecSecError
from vecsec_chassis.telemetry.metrics import CacheCounter

_REMEMBERED_BYTES = 64 * 1024 * 1024
"""Some 13,000 grants of a usual policy, or 3,500 of callers with a thousand groups."""
_BYTES_BESIDE_A_TEXT = 1_500

Content = TypeVar("Content", Identity, Grant)


@dataclass(frozen=True, slots=True)
class Signatory:
    """Whose signature holds, and for what."""

    issuer: str
    """The exact value of the claim `iss`."""
    audiences: Collection[str]
    """The values of which the claim `aud` must hold one."""
    algorithms: Sequence[str]
    """By which it may sign."""
    keys: KeySource
    """The public halves of the keys that it signs with."""
    max_lifetime_seconds: float | None = None
    """For how long what it signs may be valid at most; None where that is its own matter."""


@dataclass(frozen=True, slots=True)
class _Verified(Generic[Content]):
    content: Content
    keys: KeySource
    key_id: str
    key: PublicKey
    weight: int
    """How many bytes it takes, about."""


class Verifier(ABC, Generic[Content]):
    """Turns a signed text into what it says, or refuses it.

    Verified texts are remembered by their hash until they expire, so that a signature is checked once a text.
    """

    maximum_characters: ClassVar[int]
    """Longer texts are not even looked at."""
    required_claims: ClassVar[Sequence[str]]
    clock_skew_seconds: ClassVar[float]
    """So much may the clock of whoever signs differ from ours."""

    def __init__(self) -> None:
        self._verified: LRUCache[bytes, _Verified[Content]] = self._nothing()
        self.lookups = CacheCounter()
        """How often a text had been verified before."""

    def _forget(self) -> None:
        """Verify everything anew, also what is being verified now."""
        self._verified = self._nothing()

    @staticmethod
    def _nothing() -> "LRUCache[bytes, _Verified[Content]]":
        return LRUCache(_REMEMBERED_BYTES, getsizeof=_weight)

    @abstractmethod
    def _refusal(self, detail: str) -> VecSecError:
        """The error for a text that does not hold; the detail is for the log."""

    @abstractmethod
    def _signatory(self, signed: SignedText) -> Signatory:
        """Who must have signed this text, of which nothing is verified yet.

        Raises:
            VecSecError: the refusal, where that is nobody who is believed.
        """

    @abstractmethod
    def _content(self, claims: Mapping[str, Any], signatory: Signatory) -> Content:
        """What verified claims of a signatory say.

        Raises:
            VecSecError: the refusal, where they do not say what they must.
            ValueError, TypeError, KeyError: likewise; it becomes the refusal.
        """

    def _without_attachment(self, text: str) -> tuple[str, Mapping[str, Any]]:
        """The JWS, and what stands beside it and is to be read with its claims."""
        return text, {}

    async def verify(self, text: str) -> Content:
        """Check signature, issuer, audience and times, and read the content.

        Raises:
            VecSecError: the refusal, always with the same public text, so that nothing is learnt about keys; the detail
                is logged.
        """
        if not text:
            raise self._refusal("none was sent")
        if len(text) > self.maximum_characters:
            raise self._refusal(f"longer than {self.maximum_characters:,} characters")
        fingerprint = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        remembered = self._verified
        verified = remembered.get(fingerprint)
        # A key that was withdrawn or replaced takes with it what it signed.
        if verified is not None and await self._still_holds(verified) and remembered is self._verified:
            self.lookups.hits += 1
            if verified.content.expires_at + self.clock_skew_seconds > time.time():
                return verified.content
            remembered.pop(fingerprint, None)  # perhaps by another call, while keys were looked at
            raise self._refusal("expired since it was verified")
        self.lookups.misses += 1
        remembered = self._verified
        remembered.pop(fingerprint, None)
        # Into the memory of before: should all be forgotten meanwhile, this is forgotten too.
        verified = remembered[fingerprint] = await self._verify(text)
        return verified.content

    @staticmethod
    async def _still_holds(verified: "_Verified[Content]") -> bool:
        return await verified.keys.find(verified.key_id) is verified.key

    async def _verify(self, text: str) -> _Verified[Content]:
        length = len(text)
        text, attached = self._without_attachment(text)
        with self._complaints():
            signed = read(text)
            signatory = self._signatory(signed)
        if signed.algorithm not in signatory.algorithms:
            raise self._refusal(f"algorithm {signed.algorithm[:40]!r} is not allowed for {signatory.issuer!r}")
        key_id = signed.header.get("kid")
        # Outside of what is the caller's fault: keys that cannot be read are ours.
        key = await signatory.keys.find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise self._refusal(f"unknown key {str(key_id)[:200]!r} of issuer {signatory.issuer!r}")
        with self._complaints():
            signed.verify(key)
            self._demand_validity(signed.claims, signatory)
            content = self._content({**signed.claims, **attached}, signatory)
            return _Verified(content, signatory.keys, str(key_id), key, _BYTES_BESIDE_A_TEXT + length)

    def _demand_validity(self, claims: Mapping[str, Any], signatory: Signatory) -> None:
        demand_claims(claims, self.required_claims)
        demand_time(
            claims,
            now=time.time(),
            skew_seconds=self.clock_skew_seconds,
            max_lifetime_seconds=signatory.max_lifetime_seconds,
        )
        if claims["iss"] != signatory.issuer:
            raise BadSignedText("issued by another")
        demand_audience(claims, signatory.audiences)

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Around what the caller wrote: what is wrong with it is a refusal."""
        try:
            yield
        except (BadSignedText, UnusableClaims) as error:
            raise self._refusal(str(error)) from error
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise self._refusal(f"{type(error).__name__}: {error}") from error


def _weight(verified: _Verified[Any]) -> int:
    return verified.weight
