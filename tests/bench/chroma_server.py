"""The other side as a server: a real `chroma run`, a collection for each tenant, asked without a filter."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
import httpx
import numpy as np
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings
from numpy.typing import NDArray
from support.installation import free_ports

from bench.bare_chroma import BATCH
from bench.corpus import Tenant
from bench.wire_calls import HttpCall

INCLUDE = ["documents", "metadatas", "distances"]
_START_SECONDS = 60
_STOP_SECONDS = 30


class ChromaServer:
    """A client of a running server, by ChromaDB's own library."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        settings = Settings(anonymized_telemetry=False)
        self._client = chromadb.HttpClient(host="127.0.0.1", port=port, settings=settings)
        self._collections: dict[str, Collection] = {}

    def add(self, tenant: Tenant) -> None:
        """Store a tenant's passages in a collection of its own."""
        collection = self._collections[tenant.tenant_id] = self._client.create_collection(
            tenant.tenant_id, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        for start in range(0, len(tenant.texts), BATCH):
            rows = range(start, min(start + BATCH, len(tenant.texts)))
            collection.add(
                ids=[tenant.document_id(row) for row in rows],
                documents=[tenant.texts[row] for row in rows],
                embeddings=tenant.embeddings[rows.start : rows.stop],
                metadatas=[{"tenant_id": tenant.tenant_id, "level": tenant.level(row)} for row in rows],
            )

    def search(self, tenant_id: str, query: NDArray[np.float32], k: int) -> int:
        """The nearest of all the tenant's passages with content; returns how many came."""
        answer = self._collection(tenant_id).query(query_embeddings=[query], n_results=k, include=INCLUDE)
        return len(answer["ids"][0])

    def call(self, tenant_id: str, query: NDArray[np.float32], k: int) -> HttpCall:
        """The same search as bytes, for load generators."""
        collection = self._collection(tenant_id).id
        path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection}/query"
        body = json.dumps({"query_embeddings": [query.tolist()], "n_results": k, "include": INCLUDE})
        return HttpCall(f"http://127.0.0.1:{self.port}{path}", {"content-type": "application/json"}, body.encode())

    def _collection(self, tenant_id: str) -> Collection:
        if tenant_id not in self._collections:
            self._collections[tenant_id] = self._client.get_collection(tenant_id, embedding_function=None)
        return self._collections[tenant_id]


@contextmanager
def running(folder: Path) -> Iterator[ChromaServer]:
    """Start `chroma run` with its data in the folder, and stop it at the end."""
    # Another library sets logging up so that the client would spend its time on a line for each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    [port] = free_ports(1)
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder / "data")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait_until_serving(process, port, folder / "server.log")
        yield ChromaServer(port, process.pid)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _wait_until_serving(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").raise_for_status()
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"chroma run does not serve:\n{log.read_text()}") from error
            time.sleep(0.1)
        else:
            return
