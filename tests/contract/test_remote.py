"""What only the remote store promises: what it says when the server is gone, odd or back."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from contract.conftest import ChromaServer

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable
from vecsec_retrieval.stores import remote
from vecsec_retrieval.stores.remote import RemoteCellStore

SEEN_TOKENS: list[str | None] = []


class OddServer(http.server.BaseHTTPRequestHandler):
    """Answers as a proxy without a backend does."""

    seconds = 0.0
    released = threading.Event()

    def do_GET(self) -> None:
        SEEN_TOKENS.append(self.headers.get("x-chroma-token"))
        self.released.wait(self.seconds)
        self.send_response(502)
        self.end_headers()
        self.wfile.write(b"<html>bad gateway</html>")

    def log_message(self, *arguments: object) -> None:
        """Be quiet."""


@contextmanager
def odd_server(seconds: float = 0.0) -> Iterator[str]:
    released = threading.Event()
    handler = type("Handler", (OddServer,), {"seconds": seconds, "released": released})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_is_gone_is_unavailable_with_retry_advice() -> None:
    with closing(RemoteCellStore("http://127.0.0.1:1")) as store:
        for call in (store.heartbeat, lambda: store.open("tenant_a", create=True)):
            with pytest.raises(RetrievalUnavailable, match="does not answer") as raised:
                call()
            assert raised.value.retry_after


def test_a_proxy_without_a_backend_is_unavailable() -> None:
    with odd_server() as url, closing(RemoteCellStore(url, api_key="key")) as store:
        with pytest.raises(RetrievalUnavailable):
            store.heartbeat()
        assert SEEN_TOKENS[-1] == "key"


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_TIMEOUT_SECONDS", 0.2)
    with odd_server(seconds=30) as url, closing(RemoteCellStore(url)) as store:
        started = time.monotonic()
        with pytest.raises(RetrievalUnavailable):
            store.heartbeat()
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port", "http://host/path", "http://u:p@host"]
)
def test_a_bad_connection_string_ends_the_start_in_one_line(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHROMA_CONNECTION_STRING") as raised:
        RemoteCellStore(url)
    assert "\n" not in str(raised.value)


def test_the_location_holds_no_secret() -> None:
    with closing(RemoteCellStore("https://chroma.example:8443", api_key="secret")) as store:
        assert store.location == "https://chroma.example:8443"


def test_ids_of_one_letter_have_a_database_too(chroma_server: ChromaServer) -> None:
    with closing(RemoteCellStore(chroma_server.url)) as store:
        assert store.open("x", create=True) is not None
        assert store.open("x", create=True) is not None


def test_cells_are_found_again_when_the_server_is_back(tmp_path: Path) -> None:
    server = ChromaServer(tmp_path)
    try:
        server.wait_until_it_answers()
        with closing(RemoteCellStore(server.url)) as store:
            cell = store.open("tenant_a", create=True)
            assert cell is not None
            server.stop()
            with pytest.raises(RetrievalUnavailable):
                cell.collections()
            server.start()
            server.wait_until_it_answers()
            assert cell.collections() == []
            store.heartbeat()
    finally:
        server.stop()
