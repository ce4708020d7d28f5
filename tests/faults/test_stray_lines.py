"""What libraries write to standard error is JSON, also the last words of a process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.stray import LINES
from support.waiting import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]
FIRST_OF_A_CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
BESIDE_AND_ABOVE = [
    pytest.param([], id="beside"),
    pytest.param(
        FIRST_OF_A_CONTAINER,
        id="first",
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a namespace of processes"),
    ),
]


def started(under: list[str], how: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    return subprocess.Popen(
        [*under, sys.executable, "-m", "faults.stray", how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("under", BESIDE_AND_ABOVE)
@pytest.mark.parametrize(
    ("how", "status"), [("ended", 0), ("raised", 1), ("aborted", signal.SIGABRT), ("killed", signal.SIGKILL)]
)
def test_the_last_words_of_a_process_are_kept(under: list[str], how: str, status: int) -> None:
    process = started(under, how)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    for_people, *lines = told.splitlines()
    assert for_people == "vecsec retrieval: as it is"
    entries = [json.loads(line) for line in lines]
    assert "\n".join(entry["text"] for entry in entries).startswith(LINES.decode().strip())
    assert ("KeyError: 'raised'" in entries[-1]["text"]) == (how == "raised")
    assert entries[0]["level"] == "error"
    assert {(entry["service"], entry["message"]) for entry in entries} == {("retrieval", "a library wrote")}
    as_python_tells = -status if isinstance(status, signal.Signals) else status
    assert process.returncode == (128 + status if under and as_python_tells < 0 else as_python_tells)


@pytest.mark.parametrize("under", BESIDE_AND_ABOVE)
def test_signals_reach_the_service(under: list[str]) -> None:
    """Also those that a container engine sends to the first process, whose child the service is."""
    process = started(under, "terminated")
    assert process.stdout is not None
    inner = int(process.stdout.readline())
    if under:
        assert inner != 1
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
    else:
        process.terminate()
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3
