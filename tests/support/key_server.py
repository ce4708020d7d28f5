"""A real HTTP(S) server of public keys, which can be told to fail as real ones do."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Behaviour = Literal["answer", "hang", "drip", "fail", "garbage", "endless", "redirect"]

KEYS_PATH = "/keys"
DISCOVERY_PATH = "/.well-known/openid-configuration"


@dataclass
class KeyServer:
    """What it serves, and what it was asked."""

    keys: str
    url: str = ""
    behaviour: Behaviour = "answer"
    token: str | None = None
    """Who asks without it is turned away; None for anybody."""
    discovery: dict[str, str] = field(default_factory=dict)
    redirects_to: str = ""
    paths: list[str] = field(default_factory=list)
    """Of all requests so far."""
    going_on: threading.Event = field(default_factory=threading.Event)
    """Set when whoever hangs may end."""


class _Handler(BaseHTTPRequestHandler):
    state: KeyServer

    def do_GET(self) -> None:
        state = self.state
        state.paths.append(self.path)
        if state.behaviour == "hang":
            state.going_on.wait(30)
        elif state.behaviour in {"endless", "drip"}:
            self._drip()
        elif state.token is not None and self.headers.get("Authorization") != f"Bearer {state.token}":
            self._answer(401, b"")
        else:
            self._answer(*self._usual_answer(), Location=state.redirects_to)

    def _usual_answer(self) -> tuple[int, bytes]:
        state = self.state
        usual = json.dumps(state.discovery) if self.path == DISCOVERY_PATH else state.keys
        return {
            "fail": (500, b"<html>"),
            "garbage": (200, b"<html>hello</html>"),
            "redirect": (302, b""),
        }.get(state.behaviour, (200, usual.encode()))

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        is_fast = self.state.behaviour == "endless"
        try:
            while not self.state.going_on.wait(0.0 if is_fast else 0.02):
                self.wfile.write(b" " * (65_536 if is_fast else 1))
        except OSError:
            return  # nobody reads any more

    def _answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def running_key_server(keys: str, *, context: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """Serve keys at `url`, over TLS where there is a context for it, until the block ends."""
    state = KeyServer(keys)
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        host = "localhost" if context is not None else "127.0.0.1"
        state.url = f"{'http' if context is None else 'https'}://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.going_on.set()
            server.shutdown()
            thread.join()
