"""`vecsec violations`: counts, lists and follows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from support.cli_command import Command
from support.fake_gateway import Failure, FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2
from vecsec_cli.commands import violations as command
from vecsec_cli.terminal.time_options import parse_time

TOPIC = access_pb2.VIOLATION_TYPE_TOPIC_VIOLATION


def listing(*incidents: str, token: str = "", has_more: bool = False) -> gateway_pb2.ListViolationsResponse:
    found = [
        policy_pb2.Violation(
            violation_type=TOPIC, count=3, incident_id=each, subject="mal\x1b[2Jory", requested_tenant_id="tenant_b"
        )
        for each in incidents
    ]
    return gateway_pb2.ListViolationsResponse(
        listing=policy_pb2.ListViolationsResponse(violations=found, next_page_token=token, has_more=has_more)
    )


@pytest.fixture
def counted(gateway: FakeGateway) -> FakeGateway:
    count = policy_pb2.ViolationCount(violation_type=TOPIC, count=4)
    counts = policy_pb2.CountViolationsResponse(violations=[count], denied_count=2, replica_id="replica-1")
    gateway.answers["CountViolations"] = gateway_pb2.CountViolationsResponse(counts=counts)
    gateway.answers["ListViolations"] = listing("i-1", "i-2", token="t1")
    return gateway


def test_counts(vecsec: Command, counted: FakeGateway) -> None:
    answer: Any = vecsec.json("violations", "--tenant", "tenant_a")
    assert answer["violations"]["topic_violation"] == 4
    assert (answer["denied_count"], answer["replica_id"]) == (2, "replica-1")
    assert "newest" not in answer
    printed = vecsec("violations", "--tenant", "tenant_a").stdout
    assert "topic_violation" in printed
    assert "replica-1" in printed


def test_type_and_window_and_list(vecsec: Command, counted: FakeGateway) -> None:
    arguments = ("violations", "--tenant", "tenant_a", "--type", "topic_violation,clearance_violation", "--list", "2")
    answer: Any = vecsec.json(*arguments, "--since", "24h", "--until", "2099-01-01T00:00+00:00")
    assert list(answer["violations"]) == ["clearance_violation", "topic_violation"]
    assert [each["incident_id"] for each in answer["newest"]] == ["i-1", "i-2"]
    for request in (call.request for call in counted.received):
        assert [access_pb2.ViolationType.Name(each) for each in request.violation_types] == [
            "VIOLATION_TYPE_TOPIC_VIOLATION",
            "VIOLATION_TYPE_CLEARANCE_VIOLATION",
        ]
        day_ago = datetime.now(UTC) - timedelta(hours=24)
        assert abs(request.start_time.ToDatetime(tzinfo=UTC) - day_ago) < timedelta(minutes=5)
        assert request.end_time.ToDatetime().year == 2099
    listed = counted.received[-1].request
    assert (listed.page_size, listed.newest_first) == (2, True)
    printed = vecsec(*arguments).stdout
    assert "topic_violation x3" in printed
    assert "\x1b[2J" not in printed


def test_following_goes_on_behind_what_was_shown_and_over_an_outage(
    vecsec: Command, counted: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        """The world changes while nobody looks; then Ctrl-C."""
        slept.append(seconds)
        match len(slept):
            case 1:
                counted.answers["ListViolations"] = listing("i-3", token="t2")
                counted.failures.extend([Failure(grpc.StatusCode.UNAVAILABLE, reason="POLICY_UNAVAILABLE")] * 3)
            case 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", lambda seconds: sleep(seconds) if seconds == 7.0 else None)
    result = vecsec("violations", "--tenant", "tenant_a", "--follow", "--interval", "7", "--json", exit_code=130)
    assert [line.count('"incident_id": "i-') for line in result.stdout.splitlines()] == [1, 1, 1]
    asked = [call.request.page_token for call in counted.received]
    assert asked[0] == ""
    assert set(asked[1:]) == {"t1"}
    assert "still following" in result.stderr
    assert not counted.received[0].request.newest_first


@pytest.mark.parametrize("text", ["yesterday", "24", "-1h", "2026-13-01", "9999999999999w", ""])
def test_what_is_no_point_in_time(vecsec: Command, text: str) -> None:
    assert "no point in time" in vecsec("violations", "--tenant", "t", "--since", text, exit_code=2).stderr


def test_points_in_time() -> None:
    now = datetime.now(UTC)
    for text, ago in (("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("1w", 604800)):
        found = parse_time(text, "--since")
        assert found is not None
        assert abs((now - found).total_seconds() - ago) < 60
    assert parse_time("2026-03-01T12:00+01:00", "--since") == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert parse_time(None, "--since") is None


OTHERS = "each replica of the policy service has a log of its own: others may hold more"


def accessed(
    kind: str, calls: int, rows: int, *, token: str = "", has_more: bool = False
) -> gateway_pb2.ListForeignAccessResponse:
    found = policy_pb2.ForeignAccess(
        kind=kind,
        caller_tenant_id="tenant_x",
        subject="e\x1b[2Jve",
        role="admin",
        action=access_pb2.ACTION_READ,
        call_count=calls,
        row_count=rows,
        incident_id="i-1",
    )
    return gateway_pb2.ListForeignAccessResponse(
        listing=policy_pb2.ListForeignAccessResponse(
            accesses=[found], next_page_token=token, has_more=has_more, replica_id="replica-1"
        )
    )


def test_foreign_access(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["ListForeignAccess"] = accessed("use", 200, 1_400, has_more=True)
    arguments = ("violations", "--tenant", "tenant_a", "--foreign-access", "--since", "24h")
    answer: Any = vecsec.json(*arguments, "--list", "7")
    [access] = answer["accesses"]
    assert (access["caller_tenant_id"], access["action"], access["kind"]) == ("tenant_x", "read", "use")
    assert (access["call_count"], access["row_count"]) == (200, 1_400)
    assert (answer["has_more"], answer["replica_id"]) == (True, "replica-1")
    request = gateway.received[-1].request
    assert (request.tenant_id, request.page_size, request.newest_first) == ("tenant_a", 7, True)
    assert request.HasField("start_time")
    printed = vecsec(*arguments, COLUMNS="200").stdout
    for word in (
        "tenant_x",
        "(admin)",
        "read",
        "200",
        "1,400",
        "i-1",
        "there are older ones",
        "audit log of replica-1",
        OTHERS,
    ):
        assert word in printed
    assert "\x1b[2J" not in printed


def test_what_was_granted_or_asked_is_told_in_words(vecsec: Command, gateway: FakeGateway) -> None:
    for kind, words in (("grant", "was granted: read"), ("count", "counted violations"), ("new", "new")):
        gateway.answers["ListForeignAccess"] = accessed(kind, 0, 0)
        assert words in vecsec("violations", "--tenant", "tenant_a", "--foreign-access", COLUMNS="200").stdout
    listing = policy_pb2.ListForeignAccessResponse(replica_id="replica-1")
    gateway.answers["ListForeignAccess"] = gateway_pb2.ListForeignAccessResponse(listing=listing)
    told = vecsec("violations", "--tenant", "tenant_a", "--foreign-access", COLUMNS="200").stdout
    assert "no caller of another tenant was let in, by the audit log of replica-1" in told
    assert OTHERS in told


def test_foreign_access_is_followed(vecsec: Command, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.answers["ListForeignAccess"] = accessed("use", 2, 3, token="t1")

    def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    arguments = ("violations", "--tenant", "tenant_a", "--foreign-access", "--follow")
    told = vecsec(*arguments, exit_code=130).stdout
    assert "(admin) of tenant_x  read  2 calls, 3 rows  incident i-1" in told
    assert not gateway.received[0].request.newest_first
    assert '"row_count": 3' in vecsec(*arguments, "--json", exit_code=130).stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--foreign-access", "--type", "topic_violation"), "--foreign-access and --type contradict each other"),
        (("--foreign-access", "--follow", "--until", "1h"), "--follow and --until contradict each other"),
    ],
)
def test_what_contradicts_itself(vecsec: Command, options: tuple[str, ...], complaint: str) -> None:
    assert complaint in vecsec("violations", "--tenant", "t", *options, exit_code=2).stderr
