"""What only the remote store promises: what it says when the server is gone, odd or back."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contract.conftest import ChromaServer

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.model.filters import Equals
from vecsec_retrieval.model.rows import CollectionInfo, Document
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores import remote
from vecsec_retrieval.stores.remote import RemoteCellStore
from vecsec_retrieval.stores.whole_metadata import WHOLE_KEY, of_one_version
from vecsec_retrieval.visibility.tagging import caller_metadata, from_stored, to_stored

VERSIONS = 300
"""So many are looked at while two writers go on."""
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


def version(writer: int, number: int) -> Document:
    """A version of the one row that two writers replace: what it has depends on who wrote it, and when."""
    own = {f"only_of_{writer}": number, f"sometimes_{number % 3}": True, "written": f"{writer}/{number}", "share": 0.1}
    label = Label("tenant_a", Sensitivity(1 + number % 4), frozenset({"a"}))
    embedding = np.array([1.0, number, writer], dtype=np.float32)
    return Document("row", f"{writer}/{number}", label, own, embedding)


def test_two_writers_of_one_row_never_mix(chroma_server: ChromaServer) -> None:
    written, mixed, seen, is_over = [0, 0], [], set(), threading.Event()

    def write(writer: int) -> None:
        with closing(RemoteCellStore(chroma_server.url)) as store:
            cell = store.open("tenant_a", create=True)
            assert cell is not None
            while not is_over.is_set():
                found = cell.get("documents", ["row"], with_embeddings=False)
                stale = caller_metadata(found[0].metadata).keys() if found else ()
                cell.upsert("documents", [to_stored(version(writer, written[writer]), stale)])
                written[writer] += 1

    with closing(RemoteCellStore(chroma_server.url)) as store:
        cell = store.open("tenant_a", create=True)
        assert cell is not None
        cell.create_collection(CollectionInfo("documents", "external", 3))
        writers = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
        for thread in writers:
            thread.start()
        try:
            while len(seen) < VERSIONS:
                for row in cell.get("documents", ["row"], with_embeddings=False):
                    document = from_stored(row, "tenant_a")
                    assert document is not None
                    seen.add(document.text)
                    expected = version(*map(int, document.text.split("/")))
                    if (document.label, document.metadata) != (expected.label, expected.metadata):
                        mixed.append(row)
        finally:
            is_over.set()
            for thread in writers:
                thread.join()
        found = cell.find_ids("documents", RowCondition(metadata=Equals("written", document.metadata["written"])))
    assert not mixed, f"{len(mixed)} of {len(seen)} versions seen, such as {mixed[0]}"
    assert found in ([], ["row"])


@pytest.mark.parametrize("whole", ["{", "[1]", "7"])
def test_a_row_whose_metadata_nobody_of_ours_wrote_is_nobodys(whole: str) -> None:
    row = to_stored(version(0, 1))
    assert from_stored(replace(row, metadata=of_one_version(row.metadata | {WHOLE_KEY: "{}"})), "tenant_a")
    assert from_stored(replace(row, metadata=of_one_version(row.metadata | {WHOLE_KEY: whole})), "tenant_a") is None
