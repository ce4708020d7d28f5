"""What `vecsec up` prepares and tells the services."""

import json
import os
from pathlib import Path

import pytest

from vecsec_chassis.flag.flag import first_flags
from vecsec_chassis.flag.flag_file import OFF
from vecsec_cli.local import flag_file, installation
from vecsec_cli.local.run_file import RunFile, RunningProcess, read_run_file
from vecsec_cli.local.service_settings import operator_settings, reachable_host, service_environment, services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure


def test_the_state_directory_fills_what_the_operator_leaves_open(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    environment = service_environment({"HOME": "/home/x"}, state, services_of({}))
    assert environment["CHROMA_PATH"] == str(tmp_path / "chroma")
    assert environment["VECSEC_POLICY_DIR"] == str(tmp_path / "policy")
    assert environment["VECSEC_POLICY_ADDRESS"] == "127.0.0.1:50053"
    assert environment["VECSEC_RETRIEVAL_METRICS_PORT"] == "9092"
    assert environment["HOME"] == "/home/x"


@pytest.mark.parametrize("name", ["CHROMA_PATH", "VECSEC_POLICY_DIR", "VECSEC_ISSUERS_FILE", "VECSEC_FLAG_FILE"])
def test_what_the_operator_has_set_stays(tmp_path: Path, name: str) -> None:
    environment = service_environment({name: "/own"}, StateDirectory(tmp_path), services_of({}))
    assert environment[name] == "/own"


def test_a_remote_store_gets_no_local_path(tmp_path: Path) -> None:
    settings = {"CHROMA_CONNECTION_STRING": "http://chroma:8000"}
    assert "CHROMA_PATH" not in service_environment(settings, StateDirectory(tmp_path), services_of({}))


def test_the_environment_goes_before_the_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CHROMA_PATH=/from/file\nVECSEC_LOG_LEVEL='debug'\n")
    monkeypatch.setenv("CHROMA_PATH", "/from/environment")
    settings = operator_settings()
    assert (settings["CHROMA_PATH"], settings["VECSEC_LOG_LEVEL"]) == ("/from/environment", "debug")


def test_of_the_dotenv_file_only_own_names_reach_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    own = {
        "USE_REAL_VECTOR_RETRIEVAL": "false",
        "VECSEC_GATEWAY_PORT": "1",
        "CHROMA_PATH": "/x",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel",
    }
    foreign = {
        "PYTHONPATH": "/evil",
        "PATH": "/evil",
        "LD_PRELOAD": "/evil.so",
        "HTTPS_PROXY": "http://evil",
        "vecsec_": "x",
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in (own | foreign).items()))
    assert operator_settings() == own | {"PATH": "/bin"}


def test_ports_come_from_options_then_settings_then_defaults() -> None:
    settings = {"VECSEC_GATEWAY_PORT": "6000", "VECSEC_POLICY_PORT": "6002", "VECSEC_POLICY_METRICS_PORT": "6003"}
    found = {each.name: (each.port, each.metrics_port) for each in services_of(settings, {"gateway": 7000})}
    assert found == {"gateway": (7000, 9091), "retrieval": (50052, 9092), "policy": (6002, 6003)}
    found = {each.name: (each.port, each.metrics_port) for each in services_of(settings, None, 8000)}
    assert found == {"gateway": (6000, 8000), "retrieval": (50052, 8001), "policy": (6002, 8002)}
    with pytest.raises(CommandFailure, match="VECSEC_GATEWAY_PORT='x' is not a port"):
        services_of({"VECSEC_GATEWAY_PORT": "x"})


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("10.0.0.7", "10.0.0.7")])
def test_services_that_listen_everywhere_are_reached_by_the_loopback(bound: str, reached: str) -> None:
    assert reachable_host({"VECSEC_BIND_ADDRESS": bound}) == reached


def test_the_first_start_fills_the_state_directory_and_the_next_ones_leave_it(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    installation.prepare(state, {})
    assert (state.policy / "tenants.yaml").is_file()
    assert json.loads(state.flags_file.read_text())["flags"] == {}
    (state.policy / "tenants.yaml").write_text("edited")
    key = state.issuer_key.read_bytes()
    installation.prepare(state, {})
    assert (state.policy / "tenants.yaml").read_text() == "edited"
    assert state.issuer_key.read_bytes() == key


def test_a_kill_switch_that_is_lost_stays_off_over_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = StateDirectory(tmp_path)
    installation.prepare(state, {})
    flag_file.write_setting(state.flags_file, flag_file.FlagSetting(default=False, tenants={}))
    capsys.readouterr()
    state.flags_file.unlink()
    for _ in range(2):
        installation.prepare(state, {})
        assert not state.flags_file.exists()
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "is gone, so vector retrieval is off; put it back, or: vecsec flag set on" in told
    assert first_flags(state.flags_file) is OFF


def test_the_rules_are_copied_whole_or_not_at_all(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    (tmp_path / "policy.partial").mkdir()
    (tmp_path / "policy.partial" / "rest of a start that was cut off").write_text("")
    installation.prepare(state, {})
    assert {path.name for path in state.policy.iterdir()} == {
        path.name for path in installation.packaged_policy().iterdir() if path.name != "__pycache__"
    }


def test_an_own_policy_folder_is_not_copied(tmp_path: Path) -> None:
    installation.prepare(StateDirectory(tmp_path), {"VECSEC_POLICY_DIR": "/etc/vecsec"})
    assert not (tmp_path / "policy").exists()


def test_a_run_file_counts_while_its_process_lives(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    services = {"gateway": RunningProcess(1, "127.0.0.1:50051", "http://127.0.0.1:9091/metrics")}
    RunFile(os.getpid(), services).write(path)
    assert read_run_file(path) == RunFile(os.getpid(), services)
    RunFile(2**22 + 1, services).write(path)
    assert read_run_file(path) is None
    path.write_text('{"pid": 1')
    assert read_run_file(path) is None
