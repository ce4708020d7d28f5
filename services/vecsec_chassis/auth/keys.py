"""Where verification keys come from: a JWKS in a file, or behind a URL (`remote_keys.py`), with rotation."""

import asyncio
import time
from pathlib import Path
from typing import Protocol

import structlog

from vecsec_chassis.auth.key_fetching import KeyAddress
from vecsec_chassis.auth.key_sets import keys_by_id
from vecsec_chassis.auth.key_state import KeyState
from vecsec_chassis.auth.remote_keys import RemoteKeySource
from vecsec_chassis.auth.signatures import PublicKey
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent, SettledChanges, demand_content, file_content

log = structlog.get_logger()

_FILE_CHECK_SECONDS = 1.0
_REST_SECONDS = 0.05
"""Calls wait for it, though only when the file has changed."""
KEPT_SECONDS = 24 * 3600.0
"""The last good keys of a host that does not answer, unless told otherwise: tokens rarely live for longer."""


class KeySource(Protocol):
    """Finds the public key with a given key id."""

    async def find(self, key_id: str) -> PublicKey | None:
        """The key, or None if the set has no such key now.

        Raises:
            KeysUnavailable: if that cannot be known.
        """
        ...

    def look(self) -> None:
        """See to it, beside the calls, that the keys are current; waits for nothing."""
        ...

    async def warm(self) -> None:
        """Have the keys there, if they can be had now; `state` tells how that went."""
        ...

    @property
    def state(self) -> KeyState:
        """How the keys stand."""
        ...


class FileKeySource:
    """A JWKS file, read again within a second of a change.

    A broken file leaves the last good keys in force, for it may be half-written; an empty set, or no file, withdraws
    them all.
    """

    def __init__(self, path: Path, setting: str) -> None:
        """Read the file.

        Raises:
            ConfigurationError: naming the setting, if it is missing or not a JWKS.
        """
        self._path = path
        self._setting = setting
        self._files = SettledChanges(lambda: file_content(path), rest_seconds=_REST_SECONDS)
        self._looking = asyncio.Lock()
        self._looked_at = time.monotonic()
        self._problem: str | None = None
        content = demand_content(path, f"{setting}: {path}")
        try:
            self._keys = keys_by_id(content)
        except ValueError as error:
            raise ConfigurationError(
                f"{setting}: {path}: no set of public keys (JWKS), or half of one: {error}; write the whole file again"
            ) from error

    async def find(self, key_id: str) -> PublicKey | None:
        if self._is_due():
            async with self._looking:  # all wait who come while it is looked, lest a withdrawn key be found
                if self._is_due():
                    await self._look()
        return self._keys.get(key_id)

    def look(self) -> None:
        """Nothing to be done: it is looked at when somebody needs it."""

    async def warm(self) -> None:
        """Nothing to be done: the file was read."""

    @property
    def state(self) -> KeyState:
        """How the keys stand: those of a file are as old as the last look at it, which is no age."""
        return KeyState(len(self._keys), 0.0, self._problem)

    def _is_due(self) -> bool:
        return time.monotonic() - self._looked_at >= _FILE_CHECK_SECONDS

    async def _look(self) -> None:
        begun_at = time.monotonic()
        found = await self._files.changed_content()
        if found is not None:
            self._take(found)
        self._looked_at = begun_at

    def _take(self, found: FileContent) -> None:
        if found == FileContent():
            self._keys = {}
            return
        try:
            self._keys = keys_by_id(found.content or b"")
            self._problem = None
        except ValueError as error:
            self._problem = found.problem or str(error)
            log.warning(
                "Keys cannot be read, the last good ones stay",
                setting=self._setting,
                file=str(self._path),
                reason=self._problem,
            )


def key_source(location: str, setting: str, *, kept_seconds: float = KEPT_SECONDS) -> KeySource:
    """The key source for a path or an http(s) URL, which a setting names.

    Raises:
        ConfigurationError: if the location is a file that holds no JWKS.
    """
    if location.startswith(("http://", "https://")):
        return RemoteKeySource(setting, KeyAddress(location), kept_seconds=kept_seconds)
    return FileKeySource(Path(location), setting)
