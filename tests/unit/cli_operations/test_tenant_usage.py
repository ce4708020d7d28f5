"""`vecsec tenant usage`: what tenants use of what they may, for people and for programs."""

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import tenant_limits_pb2

LIMITS = tenant_limits_pb2.TenantLimits(
    searches_per_second=50,
    concurrent_calls=8,
    rows=1_000,
    bytes=10 << 30,
    import_rows_per_second=500,
    caller_units_per_second=20,
)
USAGE = gateway_pb2.GetTenantUsageResponse(
    limits=LIMITS,
    rows=850,
    bytes=3 << 29,
    searches_per_second=12.5,
    concurrent_calls=1,
    refused_count=3,
    gateway_replicas=4,
    policy_version="v1",
)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answers={"GetTenantUsage": USAGE})


def test_each_limit_is_a_line_with_what_is_used_of_it(vecsec: Command) -> None:
    told = vecsec("tenant", "usage", "--tenant", "tenant_a", "--tenant", "tenant_b")
    lines = [" ".join(line.replace("│", " ").split()) for line in told.stdout.splitlines()]
    assert "tenant_a rows 850 1,000 85 %" in lines
    assert "tenant_a bytes 1.5 GiB 10 GiB 15 %" in lines
    assert "tenant_a searches a second 12.5 12.5 100 %" in lines, "this gateway's part"
    assert "tenant_a calls at once 1 2 50 %" in lines
    assert "tenant_b rows imported a second 0 500 0 %" in lines
    assert "tenant_a: 3 calls were refused for a limit in the last ten seconds" in told.stderr
    assert "tenant_b uses 80 % or more of: rows, searches a second" in told.stderr


def test_programs_get_all_of_it(vecsec: Command, gateway: FakeGateway) -> None:
    without_disk = gateway_pb2.GetTenantUsageResponse()
    without_disk.CopyFrom(USAGE)
    without_disk.ClearField("bytes")
    gateway.answers["GetTenantUsage"] = without_disk
    [told] = vecsec.json("tenant", "usage", "--tenant", "tenant_a")["tenants"]
    assert (told["tenant_id"], told["rows"], told["bytes"]) == ("tenant_a", 850, None)
    assert told["limits"]["caller_units_per_second"] == 20
    assert "-" in vecsec("tenant", "usage", "--tenant", "tenant_a").stdout
