"""One clear line, a hint and an exit code for every failure."""

import json
import os
from pathlib import Path

import grpc
import pytest
from support.cli_command import Command
from support.fake_gateway import Failure, FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import error_reason_pb2
from vecsec_cli.local.run_file import RunFile, RunningProcess
from vecsec_cli.terminal import service_errors
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_retrieval.stores import error_translation
from vecsec_retrieval.stores.folder import disk

SEARCH = ("search", "x", "--tenant", "tenant_a")


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "hint"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_TENANT", 2, "tenants.yaml"),
        (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN", 3, "vecsec token"),
        (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED", 4, "vecsec explain"),
        (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", 5, "vecsec collections"),
        (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF", 6, "vecsec flag"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 7, "--timeout"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", 8, "less"),
        (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED", 9, "vecsec doctor"),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 10, "request id"),
        (grpc.StatusCode.UNKNOWN, "", 10, "request id"),
    ],
)
def test_each_failure_has_its_exit_code_and_says_what_to_do(
    vecsec: Command, gateway: FakeGateway, code: grpc.StatusCode, reason: str, exit_code: int, hint: str
) -> None:
    failure = Failure(code, "it \x1b[31mdid not\nwork", reason, (("k", "too large"),))
    gateway.failures.extend([failure] * 2)
    told = vecsec(*SEARCH, exit_code=exit_code)
    assert told.stdout == ""
    first, second = told.stderr.strip().split("\n")
    assert first == "error: it \ufffd[31mdid not work"
    assert second.startswith("hint:")
    assert hint in second

    told = vecsec(*SEARCH, "--json", exit_code=exit_code)
    assert told.stdout == ""
    error = json.loads(told.stderr)["error"]
    assert (error["code"], error["reason"]) == (code.name, reason)
    assert error["violations"] == [{"field": "k", "description": "too large"}]
    assert hint in error["hint"]


def test_without_a_token_the_hint_mints_one(vecsec: Command, gateway: FakeGateway) -> None:
    told = vecsec(*SEARCH, exit_code=3, VECSEC_TOKEN="")
    assert "vecsec token --tenant" in told.stderr
    assert gateway.received == []


def test_nobody_there(vecsec: Command) -> None:
    told = vecsec(*SEARCH, "--timeout", "3", exit_code=6, VECSEC_GATEWAY="localhost:1")
    assert "cannot reach the gateway" in told.stderr
    assert "vecsec up" in told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "x"),
        ("search", "--tenant", "tenant_a"),
        (*SEARCH, "--k", "many"),
        (*SEARCH, "--fallback", "sometimes"),
        (*SEARCH, "--timeout", "0"),
        ("nonsense",),
        ("explain", "--tenant", "a", "--sensitivity", "HIGH", "--topics", "a"),
        ("explain", "--tenant", "a", "--sensitivity", "SECRET", "--topics", "a", "--attribute", "owner"),
        (*SEARCH, "--root-certificates", "/does/not/exist.pem"),
        (*SEARCH, "--root-certificates", "/does/not/exist.pem", "--plaintext"),
    ],
)
def test_wrong_usage(vecsec: Command, gateway: FakeGateway, arguments: tuple[str, ...]) -> None:
    told = vecsec(*arguments, exit_code=2)
    assert told.stdout == ""
    assert told.stderr != ""
    assert gateway.received == []


def test_the_address_comes_from_the_running_installation(vecsec: Command, gateway: FakeGateway, state: Path) -> None:
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse()
    state.mkdir()
    running = RunningProcess(
        pid=os.getpid(), address=vecsec.environment["VECSEC_GATEWAY"], metrics_url="http://localhost:1/metrics"
    )
    RunFile(pid=os.getpid(), services={"gateway": running}).write(state / "run.json")
    vecsec("collections", "--tenant", "tenant_a", VECSEC_GATEWAY="")
    assert len(gateway.received) == 1


def test_hints_are_for_reasons_of_the_contract() -> None:
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(service_errors._HINT_OF_REASON) <= known


def test_exit_codes_are_in_the_help_and_never_change(vecsec: Command) -> None:
    shown = " ".join(vecsec("--help").stdout.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}"[:40] in shown
    assert [(code.name, code.value) for code in ExitCode] == [
        ("OK", 0),
        ("SOME_FAILED", 1),
        ("INVALID", 2),
        ("UNAUTHENTICATED", 3),
        ("DENIED", 4),
        ("NOT_FOUND", 5),
        ("UNAVAILABLE", 6),
        ("DEADLINE", 7),
        ("LIMIT", 8),
        ("DAMAGED", 9),
        ("INTERNAL", 10),
        ("INTERRUPTED", 130),
    ]


@pytest.mark.parametrize("message", [disk._NO_ROOM, disk._READ_ONLY, error_translation._REFUSED])
def test_who_has_a_full_disk_is_not_told_to_send_less(vecsec: Command, gateway: FakeGateway, message: str) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, message, "LIMIT_EXCEEDED"))
    told = vecsec(*SEARCH, exit_code=ExitCode.LIMIT)
    assert "make room" in told.stderr
    assert "less at a time" not in told.stderr


def test_the_hint_how_to_get_a_token_works_without_a_user_name() -> None:
    assert "$USER" not in service_errors.MINT_TOKEN
