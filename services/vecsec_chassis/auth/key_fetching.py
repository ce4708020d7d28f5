"""Fetches sets of public keys over HTTP(S), of which nobody knows how long it takes: in a thread of the caller's.

What is fetched says who may call, so redirections may not lead away from TLS, and the bearer token goes to the first
address alone.
"""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0
"""For each step of it; the whole may take twice as long."""
_LONGEST_BYTES = 1024 * 1024
_PIECE_BYTES = 65_536
_DISCOVERY_PATH = "/.well-known/openid-configuration"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class KeysNotFetched(Exception):
    """There is no set of keys; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class KeyAddress:
    """Where a set of keys is, and how it is asked for."""

    url: str
    """Of the set itself or, with `discovered_for`, nothing that matters."""
    discovered_for: str | None = None
    """The issuer whose OpenID configuration says where its keys are."""
    ca_file: Path | None = None
    """The authorities that vouch for the host, instead of the system's."""
    token_file: Path | None = None
    """Holds the bearer token to ask with, as a pod of Kubernetes has one; read each time."""

    @property
    def is_open_to_eavesdroppers(self) -> bool:
        """Whether it is asked without TLS, over a network."""
        parts = urlsplit(self.discovered_for or self.url)
        return parts.scheme != "https" and parts.hostname not in _LOOPBACK

    @property
    def shown(self) -> str:
        """Where that is, for people."""
        return self.url if self.discovered_for is None else self.discovered_for.removesuffix("/") + _DISCOVERY_PATH

    def fetch(self) -> bytes:
        """The set of keys as it is now.

        Raises:
            KeysNotFetched: if it cannot be had.
        """
        if self.discovered_for is None:
            return _get(self.url, self)
        return self._fetch_discovered(self.discovered_for)

    def _fetch_discovered(self, issuer: str) -> bytes:
        address = self.shown
        try:
            said = json.loads(_get(address, self))
            found_issuer, keys_url = said["issuer"], str(said["jwks_uri"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise KeysNotFetched(f"{address}: no OpenID configuration with issuer and jwks_uri") from error
        if found_issuer != issuer:
            raise KeysNotFetched(f"{address}: speaks for issuer {str(found_issuer)[:200]!r}, not {issuer!r}")
        if not keys_url.startswith("https://" if issuer.startswith("https://") else ("https://", "http://")):
            raise KeysNotFetched(f"{address}: its jwks_uri is no URL with TLS: {keys_url[:200]!r}")
        is_same_host = urlsplit(keys_url)[:2] == urlsplit(issuer)[:2]
        return _get(keys_url, self if is_same_host else KeyAddress(keys_url, ca_file=self.ca_file))


class _Redirections(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 (as the library calls it)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise KeysNotFetched("redirected to where there is no TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(url: str, how: KeyAddress) -> bytes:
    deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
    if how.ca_file is not None:
        _content_of(how.ca_file)  # the library does not say which file it cannot read
    token = None if how.token_file is None else _content_of(how.token_file).decode("latin-1")
    try:
        context = ssl.create_default_context(cafile=None if how.ca_file is None else str(how.ca_file))
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 (by the file's rules)
        if token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {token.strip()}")
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirections())
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _read(answer, deadline)
    except urllib.error.HTTPError as error:
        raise KeysNotFetched(f"{url}: HTTP {error.code}") from error
    except urllib.error.URLError as error:
        raise KeysNotFetched(f"{url}: {_reason(error.reason)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise KeysNotFetched(f"{url}: {_reason(error)}") from error


def _content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeysNotFetched(f"{file}: {error.strerror}") from error


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """All of an answer, however slowly it drips."""
    pieces, length = [], 0
    while piece := answer.read1(_PIECE_BYTES):
        pieces.append(piece)
        length += len(piece)
        if length > _LONGEST_BYTES:
            raise ValueError(f"longer than {_LONGEST_BYTES // 1024} KiB")
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(pieces)


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split()) or type(error).__name__
