"""What keeps `vecsec up` from starting: one line each, with what to do."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.cli_command import Command

from vecsec_cli.local import preflight
from vecsec_cli.local.service_settings import services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("option", "use"),
    [
        ("--gateway-port", "gateway"),
        ("--retrieval-port", "retrieval"),
        ("--policy-port", "policy"),
        ("--metrics-port", "gateway metrics"),
    ],
)
def test_a_busy_port_is_named_with_the_option_that_changes_it(
    vecsec: Command, busy_port: int, option: str, use: str
) -> None:
    free = {name: str(34_000 + number) for number, name in enumerate(("--gateway-port", "--retrieval-port"))}
    free |= {"--policy-port": "34002", "--metrics-port": "34003", option: str(busy_port)}
    arguments = [word for pair in free.items() for word in pair]
    result = vecsec("up", "--no-demo", *arguments, exit_code=2)
    expected = f"port {busy_port} ({use}) is busy: another program listens there; change it with {option}"
    assert result.stderr == f"error: {expected}\n"


def test_one_port_for_two_uses_is_refused() -> None:
    services = services_of({}, {"gateway": 34_000, "retrieval": 34_000, "policy": 34_001}, 34_010)
    with pytest.raises(CommandFailure, match="port 34000 is wanted for retrieval and for gateway"):
        preflight.check_ports(services, "127.0.0.1")


def test_a_state_directory_serves_one_up_at_a_time(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    refusal = pytest.raises(CommandFailure, match=rf"another `vecsec up` \(process {os.getpid()}\)")
    with preflight.exclusive(state), refusal, preflight.exclusive(state):
        pass
    with preflight.exclusive(state):
        pass


def test_the_state_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    preflight.make_private_folder(tmp_path / "a" / "state")
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700


def test_a_state_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailure, match="cannot write to the state directory") as refusal:
        preflight.make_private_folder(tmp_path / "file" / "state")
    assert "--state-dir" in refusal.value.hint


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 << 20))
    with pytest.raises(CommandFailure, match="is full: 3 MiB free, 64 MiB needed"):
        preflight.make_private_folder(tmp_path)


def test_on_a_full_disk_what_is_there_already_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chroma").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 << 20))
    preflight.make_private_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_missing_services_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vecsec_retrieval" else object())
    with pytest.raises(CommandFailure, match=r"not installed \(missing: vecsec_retrieval") as refusal:
        preflight.check_installation()
    assert "pip install ./clients/vecsec-client '.[services]'" in refusal.value.hint


def test_an_old_sqlite_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 31, 1))
    with pytest.raises(CommandFailure, match=r"ChromaDB needs 3\.35 or newer"):
        preflight.check_installation()
