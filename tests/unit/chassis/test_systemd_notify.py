"""What the supervisor of a service is told."""

import socket
from pathlib import Path

import pytest

from vecsec_chassis.process.systemd_notify import READY, STOPPING, notify


def test_states_go_to_the_socket_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify(READY)
        notify(STOPPING)
        assert [supervisor.recv(64), supervisor.recv(64)] == [b"READY=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"vecsec-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0{name}")
        supervisor.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify(READY)
        assert supervisor.recv(64) == b"READY=1"


def test_a_supervisor_that_is_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify(READY)
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify(READY)
