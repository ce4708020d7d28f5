"""What tokens and grants have in common: JWTs that hold only as their signatory's keys, and the clock, say now.

Which key, its signature, by whom, for whom and until when is settled here; what else a token or a grant must say is
its own file's matter.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import jwt
from cachetools import LRUCache
from jwt import PyJWK

from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.domain.access import Grant, Identity
from vecsec_chassis.domain.errors import VecSecError
from vecsec_chassis.telemetry.metrics import CacheCounter

_REMEMBERED = 10_000

Content = TypeVar("Content", Identity, Grant)


@dataclass(frozen=True, slots=True)
class Signatory:
    """Whose signature holds, and for what."""

    issuer: str
    """The exact value of the claim `iss`."""
    audience: str
    """The value that the claim `aud` must hold."""
    algorithms: Sequence[str]
    """By which it may sign."""
    keys: KeySource
    """The public halves of the keys that it signs with."""


@dataclass(frozen=True, slots=True)
class _Verified(Generic[Content]):
    content: Content
    keys: KeySource
    key_id: str
    key: PyJWK


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
        self._verified: LRUCache[bytes, _Verified[Content]] = LRUCache(maxsize=_REMEMBERED)
        self.lookups = CacheCounter()
        """How often a text had been verified before."""

    @abstractmethod
    def _refusal(self, detail: str) -> VecSecError:
        """The error for a text that does not hold; the detail is for the log."""

    @abstractmethod
    def _signatory(self, text: str, header: Mapping[str, Any]) -> Signatory:
        """Who must have signed this text, of which nothing is verified yet.

        Raises:
            VecSecError: the refusal, where that is nobody who is believed.
        """

    @abstractmethod
    def _content(self, claims: Mapping[str, Any]) -> Content:
        """What verified claims say.

        Raises:
            VecSecError: the refusal, where they do not say what they must.
            ValueError, TypeError, KeyError: likewise; it becomes the refusal.
        """

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
        verified = self._verified.get(fingerprint)
        # A key that was withdrawn or replaced takes with it what it signed.
        if verified is not None and await verified.keys.find(verified.key_id) is verified.key:
            self.lookups.hits += 1
            if verified.content.expires_at + self.clock_skew_seconds > time.time():
                return verified.content
            self._verified.pop(fingerprint, None)  # perhaps by another call, while keys were looked at
            raise self._refusal("expired since it was verified")
        self.lookups.misses += 1
        self._verified.pop(fingerprint, None)
        verified = self._verified[fingerprint] = await self._verify(text)
        return verified.content

    async def _verify(self, text: str) -> _Verified[Content]:
        with self._complaints():
            header = jwt.get_unverified_header(text)
            signatory = self._signatory(text, header)
        if header.get("alg") not in signatory.algorithms:
            raise self._refusal(f"algorithm {str(header.get('alg'))[:40]!r} is not allowed for {signatory.issuer!r}")
        key_id = header.get("kid")
        # Outside of what is the caller's fault: keys that cannot be read are ours.
        key = await signatory.keys.find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise self._refusal(f"unknown key {str(key_id)[:200]!r} of issuer {signatory.issuer!r}")
        with self._complaints():
            claims = jwt.decode(
                text,
                key=key.key,
                algorithms=signatory.algorithms,
                audience=signatory.audience,
                issuer=signatory.issuer,
                leeway=self.clock_skew_seconds,
                options={"require": list(self.required_claims)},
            )
            return _Verified(self._content(claims), signatory.keys, str(key_id), key)

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Around what the caller wrote: what is wrong with it is a refusal."""
        try:
            yield
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise self._refusal(f"{type(error).__name__}: {error}") from error
