"""The stores that the contract suite runs over: the fake, the embedded one, and a real Chroma server."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from contract.fake_store import FakeCellStore
from support.waiting import wait_until

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.model.store import CellStore
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.remote import RemoteCellStore


class ChromaServer:
    """A `chroma run` of this environment."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        program = str(Path(sys.executable).with_name("chroma"))
        self._command = [program, "run", "--path", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)]
        self.start()

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)

    def wait_until_it_answers(self) -> None:
        with closing(RemoteCellStore(self.url)) as store:

            def answers() -> bool:
                try:
                    store.heartbeat()
                except RetrievalUnavailable:
                    return False
                return True

            wait_until(answers, lambda: f"chroma run does not answer: {(self._folder / 'server.log').read_text()}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    server = ChromaServer(tmp_path_factory.mktemp("chroma_server"))
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["fake", "embedded", "remote"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], CellStore]:
    """Opens the store; whoever opens it again, after closing it, finds what was there."""
    if request.param == "fake":
        fake = FakeCellStore()
        return lambda: fake
    if request.param == "embedded":
        return lambda: EmbeddedCellStore(tmp_path / "chroma")
    server: ChromaServer = request.getfixturevalue("chroma_server")
    return lambda: RemoteCellStore(server.url)


@pytest.fixture
def store(open_store: Callable[[], CellStore]) -> Iterator[CellStore]:
    with closing(open_store()) as opened:
        yield opened
