"""Where verification keys come from: a JWKS in a file or behind a URL, with rotation."""

import asyncio
import json
import time
from pathlib import Path
from typing import Protocol

import jwt
import structlog
from jwt import PyJWK, PyJWKClient, PyJWKSet

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent, SettledChanges, demand_content, file_content

log = structlog.get_logger()

_FILE_CHECK_SECONDS = 1.0
_REST_SECONDS = 0.05
"""Calls wait for it, though only when the file has changed."""
_URL_LIFESPAN_SECONDS = 300.0
_URL_COOLDOWN_SECONDS = 10.0
_URL_TIMEOUT_SECONDS = 5.0


class KeySource(Protocol):
    """Finds the public key with a given key id."""

    async def find(self, key_id: str) -> PyJWK | None:
        """The key, or None if the set has no such key now."""
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
        content = demand_content(path, f"{setting}: {path}")
        try:
            self._keys = _keys_by_id(content)
        except (ValueError, RecursionError, jwt.PyJWTError) as error:
            raise ConfigurationError(
                f"{setting}: {path}: no set of public keys (JWKS), or half of one: {error}; write the whole file again"
            ) from error

    async def find(self, key_id: str) -> PyJWK | None:
        if self._is_due():
            async with self._looking:  # all wait who come while it is looked, lest a withdrawn key be found
                if self._is_due():
                    await self._look()
        return self._keys.get(key_id)

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
            self._keys = _keys_by_id(found.content or b"")
        except (ValueError, RecursionError, jwt.PyJWTError) as error:
            reason = found.problem or str(error)
            log.warning(
                "Keys cannot be read, the last good ones stay",
                setting=self._setting,
                file=str(self._path),
                reason=reason,
            )


class UrlKeySource:
    """A JWKS behind a URL, cached for five minutes; an unknown key id fetches it again, at most every ten seconds."""

    def __init__(self, url: str) -> None:
        self._client = PyJWKClient(
            url, lifespan=_URL_LIFESPAN_SECONDS, timeout=_URL_TIMEOUT_SECONDS, cooldown_duration=_URL_COOLDOWN_SECONDS
        )

    async def find(self, key_id: str) -> PyJWK | None:
        cached = self._client.jwk_set_cache.get() if self._client.jwk_set_cache is not None else None
        if cached is not None:
            for key in cached.keys:
                if key.key_id == key_id:
                    return key
        try:
            return await asyncio.to_thread(self._client.get_signing_key, key_id)
        except jwt.PyJWTError:
            return None


def key_source(location: str, setting: str) -> KeySource:
    """The key source for a path or an http(s) URL, which a setting names.

    Raises:
        ConfigurationError: if the location is a file that holds no JWKS.
    """
    if location.startswith(("http://", "https://")):
        return UrlKeySource(location)
    return FileKeySource(Path(location), setting)


def _keys_by_id(text: bytes) -> dict[str, PyJWK]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not an object")  # noqa: TRY004 (of a file, and the library's own errors are likewise)
    if content == {"keys": []}:
        return {}  # a set like any other, which the library takes for an error
    keys = PyJWKSet.from_dict(content).keys
    return {key.key_id: key for key in keys if key.key_id is not None}
