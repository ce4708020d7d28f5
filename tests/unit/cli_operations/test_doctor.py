"""`vecsec doctor`: what is wrong is named, with what to do. What keeps services from starting: rpc/test_bad_input."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.cli_command import Command

from vecsec_cli.checks import audit, services
from vecsec_cli.checks.audit import check_audit
from vecsec_cli.checks.configuration import check_configuration
from vecsec_cli.checks.finding import CheckResult, CheckState
from vecsec_cli.checks.store import check_store
from vecsec_cli.local import installation
from vecsec_cli.local.flag_file import FlagSetting, write_setting
from vecsec_cli.local.state_directory import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    prepared = StateDirectory(tmp_path)
    installation.prepare(prepared, {})
    return prepared


def by_name(findings: Iterator[CheckResult]) -> dict[str, CheckResult]:
    return {finding.check: finding for finding in findings}


def make_cell(state: StateDirectory, tenant_id: str) -> Path:
    database = state.chroma / tenant_id / "chroma.sqlite3"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE rows (text TEXT)")
        connection.executemany("INSERT INTO rows VALUES (?)", [("some text " * 40,) for _ in range(500)])
    return database


def test_a_fresh_installation_is_well_but_for_the_services(state: StateDirectory) -> None:
    findings = [*check_configuration(state, {}), *check_store(state, {})]
    assert {finding.state for finding in findings} == {CheckState.OK}


def test_keys_that_others_can_read_are_named(state: StateDirectory) -> None:
    state.grant_key.chmod(0o644)
    finding = by_name(check_configuration(state, {}))["grant key"]
    assert (finding.state, finding.remedy) == (CheckState.FAIL, f"chmod 600 {state.grant_key}")


def test_a_flag_that_is_off_is_a_warning_and_a_broken_file_too(state: StateDirectory) -> None:
    write_setting(state.flags_file, FlagSetting(True, {"tenant_b": False}))
    finding = by_name(check_configuration(state, {}))["flag"]
    assert (finding.state, finding.detail) == (CheckState.WARN, "real retrieval is on, but not for tenant_b")
    state.flags_file.write_text("{")
    assert by_name(check_configuration(state, {}))["flag"].state is CheckState.WARN


def test_a_damaged_cell_is_named_and_the_others_are_read(state: StateDirectory) -> None:
    make_cell(state, "tenant_a")
    damaged = make_cell(state, "tenant_b")
    content = bytearray(damaged.read_bytes())
    content[4096:12288] = os.urandom(8192)
    damaged.write_bytes(content)
    (state.chroma / "tenant_c").mkdir()
    findings = by_name(check_store(state, {}))
    assert findings["cell tenant_b"].state is CheckState.FAIL
    assert "other tenants are not affected" in findings["cell tenant_b"].remedy
    assert findings["cell tenant_c"].state is CheckState.WARN
    assert "cell tenant_a" not in findings
    assert "1 of 3 cells" in findings["store"].detail


def identified(state: StateDirectory, store_id: str, *cells: str) -> None:
    told = {"format": 1, "store_id": store_id, "cells": cells}
    (state.chroma / ".vecsec-store.json").write_text(json.dumps(told))


def bear(database: Path, store_id: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE vecsec_cell (key TEXT PRIMARY KEY, value)")
        connection.execute("INSERT INTO vecsec_cell VALUES ('store_id', ?)", (store_id,))


def test_a_cell_that_is_gone_or_another_stores_is_named(state: StateDirectory) -> None:
    for tenant_id, store_id in (("tenant_a", "mine"), ("tenant_b", "another")):
        bear(make_cell(state, tenant_id), store_id)
    (state.chroma / "tenant_d").mkdir()
    identified(state, "mine", "tenant_a", "tenant_b", "tenant_c", "tenant_d")
    findings = by_name(check_store(state, {}))
    assert set(findings) == {"cell tenant_b", "cell tenant_c", "cell tenant_d", "store", "store's disk"}
    assert "is of another store (another)" in findings["cell tenant_b"].detail
    for name in ("cell tenant_c", "cell tenant_d"):
        assert findings[name].state is CheckState.FAIL
        assert "is gone, but on the store's list of cells" in findings[name].detail
        assert f"vecsec tenant repair --tenant {name.split()[1]}" in findings[name].remedy
    assert findings["store"].detail.endswith("1 of 4 cells can be read (store mine, format 1)")


def test_an_identity_that_is_damaged_is_named(state: StateDirectory) -> None:
    (state.chroma / ".vecsec-store.json").write_text("{")
    finding = by_name(check_store(state, {}))["store"]
    assert (finding.state, finding.remedy) == (CheckState.FAIL, "put the file back from a backup of this store")


@pytest.mark.parametrize(
    ("free", "found", "detail"),
    [
        (8 << 20, CheckState.FAIL, "0.0 GiB free at {}: nothing can be stored, searches go on"),
        (512 << 20, CheckState.WARN, "0.5 GiB free at {}"),
        (8 << 30, CheckState.OK, "8.0 GiB free at {}"),
    ],
)
def test_a_full_disk_of_the_store_is_told(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, free: int, found: CheckState, detail: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    finding = by_name(check_store(state, {}))["store's disk"]
    assert (finding.state, finding.detail) == (found, detail.format(state.chroma))


def test_another_gateway_alone_is_asked_and_nothing_of_here_is_called_well(vecsec: Command, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    installation.prepare(StateDirectory(tmp_path / "state"), {})
    for address in (vecsec.environment["VECSEC_GATEWAY"], "gateway.invalid:50051"):
        answer = json.loads(vecsec("doctor", "--json", exit_code=1, VECSEC_GATEWAY=address).stdout)
        assert [each["check"] for each in answer["checks"]] == ["stack", "gateway"]
        stack, gateway = answer["checks"]
        assert (stack["state"], gateway["state"]) == ("warn", "fail")  # the scripted one knows no health
        assert f"VECSEC_GATEWAY={address} is not of {tmp_path / 'state'}" in stack["detail"]
        assert address in gateway["detail"]
        assert "vecsec up" not in gateway["remedy"]


def test_a_stack_that_is_named_is_looked_at_whatever_gateway_is_set(vecsec: Command, tmp_path: Path) -> None:
    """The environment is set once and forgotten; what was typed is meant."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\ncase "$*" in *version*) exit 0;; esac\necho no such engine >&2\nexit 1\n')
    docker.chmod(0o755)
    file = tmp_path / "compose.yaml"
    file.touch()
    path = f"{docker.parent}:{os.environ['PATH']}"
    arguments = ("doctor", "--json", "--compose-file", str(file))
    answer = json.loads(vecsec(*arguments, exit_code=1, VECSEC_GATEWAY="gateway.invalid:50051", PATH=path).stdout)
    assert {each["check"] for each in answer["checks"]} == {"stack"}
    assert answer["checks"][0]["detail"] == f"Compose project of {file}"
    assert answer["checks"][1]["detail"].endswith("no such engine")


def test_services_that_do_not_answer_fail_the_command(vecsec: Command, tmp_path: Path) -> None:
    names = ("GATEWAY", "RETRIEVAL", "POLICY")
    ports = {f"VECSEC_{name}_{kind}": "9" for name in names for kind in ("PORT", "METRICS_PORT")}
    (tmp_path / "state").mkdir()
    installation.prepare(StateDirectory(tmp_path / "state"), {})
    answer = vecsec.json("doctor", exit_code=1, **ports, VECSEC_GATEWAY="127.0.0.1:9")
    assert answer["ok"] is False
    failed = {each["check"] for each in answer["checks"] if each["state"] == "fail"}
    assert failed == {
        *("gateway", "retrieval", "policy"),
        *("gateway metrics", "retrieval metrics", "policy metrics"),
    }
    assert all(each["remedy"] for each in answer["checks"] if each["state"] != "ok")


def test_the_services_are_looked_for_where_up_runs_them(state: StateDirectory) -> None:
    process = {"pid": 1, "address": "127.0.0.1:1234", "metrics_url": "http://127.0.0.1:4321/metrics"}
    state.run_file.write_text(json.dumps({"pid": os.getpid(), "services": {"gateway": process}}))
    assert services.services(state, {})["gateway"].address == "127.0.0.1:1234"


def test_the_disk_of_the_audit_log_is_measured(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"VECSEC_AUDIT_FILE": str(state.root / "nowhere" / "audit.jsonl")}
    assert by_name(check_audit(state, elsewhere)) == {}, "nothing was recorded yet"
    state.audit_file.write_bytes(bytes(2 << 20))
    state.audit_file.with_name("policy.0000000000000001.jsonl").write_bytes(bytes(1 << 20))
    finding = by_name(check_audit(state, {}))["audit's disk"]
    assert finding.state is CheckState.OK
    assert finding.detail.startswith("3.0 MiB of audit log, ")
    for free, expected in ((1 << 28, CheckState.WARN), (0, CheckState.FAIL)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, free=free: SimpleNamespace(free=free))
        finding = by_name(check_audit(state, {}))["audit's disk"]
        assert (finding.state, "VECSEC_AUDIT_BYTES_KEPT" in finding.remedy) == (expected, True)


def test_what_the_policy_service_forecasts_is_said(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "metrics"
    page.write_text('# HELP vecsec_audit_hours_until_full When\nvecsec_audit_hours_until_full{a="b"} 3.25\n')
    monkeypatch.setattr(
        audit, "services", lambda _state, _settings: {"policy": SimpleNamespace(metrics_url=page.as_uri())}
    )
    finding = by_name(check_audit(state, {}))["audit's disk"]
    assert finding.state is CheckState.WARN
    assert "full in 3.2 hours if it goes on so" in finding.detail
