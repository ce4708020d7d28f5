"""Once a minute: tenants near a limit are in the log with those who used most, and in metrics as a number."""

from dataclasses import replace

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import TenantLimit
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import GENEROUS
from vecsec_gateway.limits.report import report
from vecsec_gateway.limits.tenant_shares import TenantShares
from vecsec_gateway.peers.metrics import GatewayMetrics

NOTHING_DEAR = {"dear_units_per_second": 0, "caller_units_per_second": 0}
ALICE = Identity("alice", "tenant_a", "guest", Sensitivity.PUBLIC, "issuer", 0.0)


def near(reader: InMemoryMetricReader) -> dict[object, float]:
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "vecsec_tenants_near_limit"
        for point in metric.data.data_points
    ]
    return {dict(point.attributes or {})["limit"]: point.value for point in points}  # type: ignore[union-attr]


def test_who_is_refused_or_near_a_limit_is_told_with_the_callers_and_others_are_not() -> None:
    reader = InMemoryMetricReader()
    metrics = GatewayMetrics(MeterProvider([reader]).get_meter("test"))
    shares = TenantShares(lambda: 1_000.0, replicas=1, on_refusal=metrics.refused_for_limit)
    few = replace(GENEROUS, concurrent_calls=5)
    for number in range(4):
        shares.enter(replace(ALICE, subject=f"caller-{number}"), 1.0 + number, few)
    shares.enter(replace(ALICE, tenant_id="tenant_b"), 1.0, GENEROUS)
    carol = replace(ALICE, subject="carol", tenant_id="tenant_c")
    slow = replace(GENEROUS, searches_per_second=1)
    shares.leave(shares.enter(carol, 2.0, slow))
    with pytest.raises(TenantLimit):
        shares.enter(carol, 1.0, slow)

    with capture_logs() as logged:
        report(shares.end_minute(), metrics, replicas=1)
    assert logged == [
        {
            "event": "tenant is near its limits",
            "log_level": "warning",
            "tenant_id": "tenant_a",
            "used_percent": NOTHING_DEAR | {"searches_per_second": 0, "concurrent_calls": 80},
            "refused": {},
            "callers": {"caller-3": 4, "caller-2": 3, "caller-1": 2},
        },
        {
            "event": "tenant is near its limits",
            "log_level": "warning",
            "tenant_id": "tenant_c",
            "used_percent": NOTHING_DEAR | {"searches_per_second": 3, "concurrent_calls": 0},
            "refused": {"searches_per_second": 1},
            "callers": {"carol": 3},
        },
    ]
    assert near(reader) == {
        "searches_per_second": 1,
        "concurrent_calls": 1,
        "dear_units_per_second": 0,
        "caller_units_per_second": 0,
    }
    report(shares.end_minute(), metrics, replicas=1)
    assert set(near(reader).values()) == {0}, "a minute later nobody is"


def test_who_makes_nearly_as_many_dear_calls_as_it_may_is_told_before_it_is_refused() -> None:
    now = 1_000.0
    shares = TenantShares(lambda: now, replicas=2, on_refusal=lambda _: None)
    limits = replace(GENEROUS, dear_units_per_second=40, caller_units_per_second=20)
    for _ in range(50):  # a unit of ten each second, of the ten that one caller may here
        shares.leave(shares.enter(ALICE, 10.0, limits))
        now += 1
    metrics = GatewayMetrics(MeterProvider().get_meter("test"))
    with capture_logs() as logged:
        report(shares.end_minute(), metrics, replicas=2)
    [line] = logged
    assert line["used_percent"]["caller_units_per_second"] == 83
    assert line["used_percent"]["dear_units_per_second"] == 42
    assert not line["refused"]
