"""Keys of an issuer that are fetched: fresh while it answers, the last good ones for a time while it does not.

Nobody who sends a known key waits for a fetch, unless it is long since anybody looked. Who sends an unknown one waits
for one that all share, at most one in some seconds, and it has a thread of its own: whatever an issuer's host does,
nothing else of the service waits.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import structlog
from cachetools import TTLCache

from vecsec_chassis.auth.key_fetching import TIMEOUT_SECONDS, KeyAddress, KeysNotFetched
from vecsec_chassis.auth.key_sets import keys_by_id
from vecsec_chassis.auth.key_state import KeyState
from vecsec_chassis.auth.signatures import PublicKey
from vecsec_chassis.domain.errors import KeysUnavailable

log = structlog.get_logger()

FRESH_SECONDS = 300.0
"""A key that its issuer withdraws is believed for so long."""
_COOLDOWN_SECONDS = 5.0
"""Between two fetches."""
_UNKNOWN_SECONDS = 15.0
_UNKNOWN_IDS = 1_000
_WAIT_SECONDS = 2 * TIMEOUT_SECONDS + 1.0
"""A fetch that is not back by then (the system's resolver may take minutes) is waited for by nobody."""


class RemoteKeySource:
    """The keys behind an address."""

    def __init__(
        self,
        issuer: str,
        address: KeyAddress,
        *,
        kept_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kept_seconds` is for how long the last good keys are believed while there are no newer ones; `clock` is in
        seconds. Nothing is fetched yet."""
        self._issuer = issuer
        self._address = address
        self._kept_seconds = kept_seconds
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at = -_COOLDOWN_SECONDS
        self._problem: str | None = None
        self._fetching: asyncio.Future[None] | None = None
        self._unknown: TTLCache[str, bool] = TTLCache(_UNKNOWN_IDS, ttl=_UNKNOWN_SECONDS, timer=clock)

    async def find(self, key_id: str) -> PublicKey | None:
        """The key, or None if the issuer has no such key now.

        Raises:
            KeysUnavailable: if that cannot be known, since its keys cannot be had.
        """
        self._drop_outdated()
        if self._was_forgotten:
            await self._fetch_and_wait()
        key = self._keys.get(key_id)
        if key is not None:
            self.look()
            return key
        if self._problem is None and key_id in self._unknown:
            return None
        await self._fetch_and_wait()
        key = self._keys.get(key_id)
        if key is not None:
            return key
        if self._problem is not None or self._fetched_at is None:
            raise KeysUnavailable(
                "the keys that your token was signed with cannot be had now, so nobody knows whether it holds; "
                "try again in a moment",
                detail=f"keys of {self._issuer!r}: {self._problem or 'not there yet'}",
                retry_after=_COOLDOWN_SECONDS,
            )
        self._unknown[key_id] = True
        return None

    def look(self) -> None:
        """Begin a fetch if the keys are no longer fresh."""
        self._drop_outdated()
        if self._fetched_at is None or self._clock() - self._fetched_at >= FRESH_SECONDS:
            self._begin()

    async def warm(self) -> None:
        """Have the keys there, if they can be had now."""
        if self._fetched_at is None:
            await self._fetch_and_wait()

    @property
    def state(self) -> KeyState:
        """How the keys stand."""
        age = None if self._fetched_at is None else self._clock() - self._fetched_at
        return KeyState(len(self._keys), age, self._problem)

    @property
    def _was_forgotten(self) -> bool:
        """Whether nobody has looked for so long that a key may have been withdrawn, with no trouble known."""
        age = 0.0 if self._fetched_at is None else self._clock() - self._fetched_at
        return age >= 2 * FRESH_SECONDS and self._problem is None

    def _drop_outdated(self) -> None:
        if self._keys and self._fetched_at is not None and self._clock() - self._fetched_at > self._kept_seconds:
            self._keys = {}
            log.error(
                "Keys of an issuer are too old, its tokens are refused until there are newer ones",
                issuer=self._issuer,
                kept_seconds=self._kept_seconds,
                reason=self._problem,
            )

    async def _fetch_and_wait(self) -> None:
        self._begin()
        if self._fetching is not None:
            done, _ = await asyncio.wait((self._fetching,), timeout=_WAIT_SECONDS)
            if not done:
                self._failed("does not answer in time")

    def _begin(self) -> None:
        """Begin a fetch, unless one is under way or was lately."""
        now = self._clock()
        if self._fetching is not None or now - self._tried_at < _COOLDOWN_SECONDS:
            return
        self._tried_at = now
        loop = asyncio.get_running_loop()
        self._fetching = loop.create_future()
        # A daemon, for the end of the service does not wait for a host that does not answer.
        threading.Thread(target=self._fetch, args=(loop,), name="fetch keys", daemon=True).start()

    def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread."""
        keys, problem = None, ""
        try:
            keys = keys_by_id(self._address.fetch())
        except KeysNotFetched as error:
            problem = str(error)
        except ValueError as error:
            problem = f"no set of public keys (JWKS): {error}"
        finally:
            with contextlib.suppress(RuntimeError):  # the service has ended meanwhile
                loop.call_soon_threadsafe(self._fetched, keys, problem or "failed unexpectedly")

    def _fetched(self, keys: dict[str, PublicKey] | None, problem: str) -> None:
        if keys is None:
            self._failed(problem)
        else:
            self._take(keys)
        if self._fetching is not None:
            self._fetching.set_result(None)
            self._fetching = None

    def _take(self, keys: dict[str, PublicKey]) -> None:
        # A key that is as it was stays the very object, by which what it has verified before is still known.
        known = self._keys
        self._keys = {name: known[name] if known.get(name) == key else key for name, key in keys.items()}
        if self._fetched_at is None or self._problem is not None or known.keys() != keys.keys():
            log.info("Keys of an issuer taken", issuer=self._issuer, keys=len(keys))
        self._fetched_at = self._clock()
        self._problem = None
        self._unknown.clear()

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            log.warning(
                "Keys of an issuer cannot be fetched, the last good ones stay"
                if self._keys
                else "Keys of an issuer cannot be fetched, its callers are told UNAVAILABLE",
                issuer=self._issuer,
                keys=len(self._keys),
                reason=problem,
            )
        self._problem = problem
