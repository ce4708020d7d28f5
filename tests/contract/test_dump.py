"""Existing ChromaDB collections of other programs, written out as JSON lines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chromadb import HttpClient, PersistentClient
from contract.conftest import ChromaServer

ROWS = 1_100


def dump(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "vecsec_retrieval.repair.dump", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "foreign"
    with closing(PersistentClient(str(path))) as client:
        collection = client.create_collection("theirs", embedding_function=None)
        collection.add(
            ids=[f"id {number}" for number in range(ROWS)],
            embeddings=[[float(number), 1.5] for number in range(ROWS)],
            documents=[f"text ü {number}" for number in range(ROWS)],
            metadatas=[{"n": number, "f": 1.0, "b": True, "s": "x"} for number in range(ROWS)],
        )
        collection.add(ids=["bare"], embeddings=[[1.0, 2.0]])
    return path


def test_a_directory_is_written_row_by_row_and_left_as_it_is(foreign: Path) -> None:
    before = (foreign / "chroma.sqlite3").read_bytes()
    done = dump("--path", str(foreign), "--collection", "theirs")
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert len(rows) == ROWS + 1
    assert rows["id 7"] == {
        "id": "id 7",
        "text": "text ü 7",
        "metadata": {"n": 7, "f": 1.0, "b": True, "s": "x"},
        "embedding": [7.0, 1.5],
    }
    assert rows["bare"] == {"id": "bare", "text": None, "metadata": {}, "embedding": [1.0, 2.0]}
    assert (foreign / "chroma.sqlite3").read_bytes() == before


def test_a_server_is_written_too(chroma_server: ChromaServer) -> None:
    host, _, port = chroma_server.url.removeprefix("http://").partition(":")
    with closing(HttpClient(host=host, port=int(port))) as client:
        collection = client.get_or_create_collection("theirs", embedding_function=None)
        collection.upsert(ids=["one"], embeddings=[[1.0]], documents=["text"], metadatas=[{"n": 1}])
    done = dump("--url", chroma_server.url, "--collection", "theirs")
    assert json.loads(done.stdout) == {"id": "one", "text": "text", "metadata": {"n": 1}, "embedding": [1.0]}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--path", "{foreign}", "--collection", "others"], "does not exist"),
        (["--path", "/nonexistent", "--collection", "theirs"], "is not a ChromaDB directory"),
        (["--url", "http://127.0.0.1:1", "--collection", "theirs"], "cannot be read"),
        (["--url", "ftp://host", "--collection", "theirs"], "write http://host:port"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(foreign: Path, arguments: list[str], reason: str) -> None:
    done = dump(*(argument.format(foreign=foreign) for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_damaged_directory_is_said_to_be(foreign: Path) -> None:
    (foreign / "chroma.sqlite3").write_bytes(b"garbage" * 1_000)
    done = dump("--path", str(foreign), "--collection", "theirs")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr.splitlines()[-1]
