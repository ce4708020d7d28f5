"""Each alert fires on its cause, stays silent otherwise and resolves: `promtool test rules` over a made-up day."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml
from support.monitoring import RULE_FILES, alert_names
from support.parts import find_program
from support.waiting import COMMAND_SECONDS

pytestmark = pytest.mark.prometheus

MINUTES = 14 * 60
CAUSE_MINUTE, CURED_MINUTE = 60, 180
EVALUATION_MINUTES = 5  # rarer than in production, where it is seconds; a day is over sooner
GATEWAY = 'job="vecsec-gateway"'
SEARCH = f'{GATEWAY},method="SearchDocuments"'
FAILURES = 'vecsec_vector_retrieval_failures_total{operation="search",reason="%s"}'
UNAVAILABLE, TIMEOUTS, NOT_TRIED = (
    FAILURES % reason for reason in ("RETRIEVAL_UNAVAILABLE", "DEADLINE_EXCEEDED", "CIRCUIT_OPEN")
)
SUCCESSES = 'vecsec_vector_retrieval_success_total{operation="search"}'
VIOLATIONS = 'vecsec_rlsa_violations_total{violation_type="%s"}'
ANSWERED, REFUSED = (f'vecsec_requests_total{{{SEARCH},code="{code}"}}' for code in ("OK", "RESOURCE_EXHAUSTED"))
OUTCOMES = f'vecsec_call_outcomes_total{{{GATEWAY},outcome="%s",reason="%s"}}'
GOT_ROWS, GOT_NOTHING, GOT_MOCK = (
    OUTCOMES % got for got in (("answered", ""), ("unavailable", "POLICY_UNAVAILABLE"), ("mock", "retrieval_failed"))
)
DENIED = OUTCOMES % ("refused", "ACCESS_DENIED")
EXPORTED = f"vecsec_export_finished_timestamp_seconds{{{GATEWAY}}}"
FAST, SLOW, ALL = (f'vecsec_request_duration_seconds_bucket{{{SEARCH},le="{bound}"}}' for bound in ("3", "5", "+Inf"))
COUNT = f"vecsec_request_duration_seconds_count{{{SEARCH}}}"


def steady(value: float) -> str:
    """A gauge that stays, or a counter that does not count."""
    return f"{value}x{MINUTES}"


def counting(per_minute: float) -> str:
    return f"0+{per_minute}x{MINUTES}"


def meanwhile(value: str, otherwise: float) -> str:
    """A gauge with another value while the cause lasts; `_` for a series that is not there."""
    return (
        f"{otherwise}x{CAUSE_MINUTE - 1} {value}x{CURED_MINUTE - CAUSE_MINUTE - 1} {otherwise}x{MINUTES - CURED_MINUTE}"
    )


def counting_meanwhile(per_minute: float, otherwise: float = 0) -> str:
    """A counter that counts otherwise while the cause lasts."""
    lasts = CURED_MINUTE - CAUSE_MINUTE
    first = otherwise * CAUSE_MINUTE
    second = first + per_minute * lasts
    return (
        f"0+{otherwise}x{CAUSE_MINUTE - 1} {first}+{per_minute}x{lasts - 1} "
        f"{second}+{otherwise}x{MINUTES - CURED_MINUTE}"
    )


CLOSED = "vecsec_cells_closed_for_memory_total"
OPEN_FILES = {"open": 100, "max": 1_024}
HEALTHY = {
    **{f'up{{job="vecsec-{service}"}}': steady(1) for service in ("gateway", "retrieval", "policy")},
    **{f'vecsec_feature_flag{{job="vecsec-{service}"}}': steady(1) for service in ("gateway", "retrieval")},
    **{f'vecsec_feature_flag_file_errors_total{{job="vecsec-{each}"}}': steady(0) for each in ("gateway", "retrieval")},
    "vecsec_vector_store_up": steady(1),
    "vecsec_damaged_cells": steady(0),
    # Without a placement there is one shard, without a name: that it is gone is told by other alerts.
    f'vecsec_shard_serving{{{GATEWAY},shard=""}}': steady(0),
    **{f'vecsec_shard_serving{{{GATEWAY},shard="shard-{number}"}}': steady(1) for number in (0, 1)},
    f'vecsec_store_not_believed{{{GATEWAY},shard=""}}': steady(0),
    f"vecsec_placement_file_refused{{{GATEWAY}}}": steady(0),
    **{f'vecsec_placement_epoch{{job="vecsec-{each}"}}': steady(2) for each in ("gateway", "retrieval")},
    "vecsec_store_free_bytes": steady(10**11),
    **{f'process_{which}_fds{{job="vecsec-retrieval"}}': steady(count) for which, count in OPEN_FILES.items()},
    "vecsec_vector_store_writable": steady(1),
    "vecsec_untagged_rows_total": steady(0),
    SUCCESSES: counting(600),
    f'vecsec_calls_shed_total{{{GATEWAY},reason="queue"}}': steady(0),
    f"vecsec_calls_admitted_total{{{GATEWAY}}}": counting(600),
    UNAVAILABLE: steady(0),
    TIMEOUTS: steady(0),
    NOT_TRIED: steady(0),
    **{
        f'vecsec_mock_fallback_total{{reason="{reason}"}}': steady(0)
        for reason in ("flag_off", "retrieval_failed", "circuit_open")
    },
    ANSWERED: counting(600),
    GOT_ROWS: counting(600),
    **{each: steady(0) for each in (GOT_NOTHING, GOT_MOCK, DENIED)},
    f"vecsec_circuits_open{{{GATEWAY}}}": steady(0),
    "vecsec_store_calls_waiting": steady(3),
    "vecsec_store_threads": steady(8),
    CLOSED: counting(3),  # a full memory in which a tenant comes back now and then
    'vecsec_search_strategy_total{strategy="exact_scan"}': counting(600),
    'vecsec_shard_words_missing{instance="shard-0"}': steady(0),
    EXPORTED: steady(-(10**5)),
    FAST: counting(600),
    SLOW: counting(600),
    ALL: counting(600),
    COUNT: counting(600),
    **{
        VIOLATIONS % kind: steady(0)
        for kind in ("cross_tenant_violation", "document_tenant_violation", "clearance_violation")
    },
    "vecsec_plan_check_divergence_total": steady(0),
    "vecsec_audit_write_failures_total": steady(0),
    "vecsec_audit_records_lost_total": steady(0),
    "vecsec_audit_recording": steady(1),
    "vecsec_foreign_uses_oldest_seconds": steady(0),
    'vecsec_foreign_calls_total{outcome="lost"}': steady(0),
    "vecsec_grant_clock_lead_seconds": steady(-1),
    **{f'vecsec_grants_refused_for_time_total{{cause="{each}"}}': steady(0) for each in ("future", "expired")},
    'vecsec_tenant_limit_refusals_total{limit="rows"}': steady(0),
    "vecsec_audit_free_bytes": steady(10**11),
    "vecsec_audit_hours_until_full": steady(87_600),
    'vecsec_policy_reload_failing{part="policy"}': steady(0),
    f"vecsec_issuers_file_refused{{{GATEWAY}}}": steady(0),
    f'vecsec_issuer_keys{{{GATEWAY},issuer="a"}}': steady(2),
    f'vecsec_issuer_keys_age_seconds{{{GATEWAY},issuer="a"}}': steady(60),
    f'vecsec_requests_total{{{SEARCH},code="UNAUTHENTICATED"}}': counting(1),
    **{
        f'vecsec_policy_info{{stage="{stage}",version="{version}",instance="{replica}"}}': steady(1)
        for replica in "ab"
        for stage, version in (("current", "1"), ("candidate", "2"))
    },
    f"vecsec_certificate_expiry_seconds{{{GATEWAY}}}": steady(90 * 86_400),
    f"vecsec_certificate_reload_failures_total{{{GATEWAY}}}": steady(0),
}


@dataclass(frozen=True)
class Case:
    """A cause, and the alerts that it sets off."""

    alert: str
    series: dict[str, str]
    fires_minute: int = CURED_MINUTE - 1
    resolved_minute: int = CURED_MINUTE + 60
    also: frozenset[str] = field(default_factory=frozenset)


AVAILABILITY = frozenset({"AvailabilityBudgetBurn"})
HALF_DENIED = {DENIED: counting_meanwhile(300), GOT_ROWS: counting_meanwhile(300, 600)}
CASES = [
    Case("VectorRetrievalFailure", {UNAVAILABLE: counting_meanwhile(600), SUCCESSES: counting_meanwhile(0, 600)}),
    Case("VectorRetrievalFailure", {UNAVAILABLE: counting_meanwhile(40), SUCCESSES: counting_meanwhile(560, 600)}),
    Case(
        "VectorRetrievalFailure",
        {UNAVAILABLE: counting_meanwhile(2), NOT_TRIED: counting_meanwhile(598), SUCCESSES: counting_meanwhile(0, 600)},
    ),
    Case("VectorRetrievalFailure", {NOT_TRIED: counting_meanwhile(5), SUCCESSES: steady(0)}),
    Case("VectorRetrievalTimeout", {TIMEOUTS: counting_meanwhile(20), SUCCESSES: counting_meanwhile(580, 600)}),
    Case("VectorStoreDown", {"vecsec_vector_store_up": meanwhile("0", 1)}),
    Case("VectorStoreDown", {"vecsec_vector_store_up": meanwhile("_", 1)}),
    Case("HighInferenceLatency", {FAST: counting_meanwhile(550, 600)}),
    Case(
        "MockServed",
        {
            'vecsec_mock_fallback_total{reason="retrieval_failed"}': counting_meanwhile(60),
            GOT_MOCK: counting_meanwhile(60),
        },
        also=AVAILABILITY,
        resolved_minute=MINUTES,
    ),
    Case("MockServed", {'vecsec_mock_fallback_total{reason="circuit_open"}': counting_meanwhile(1)}),
    Case(
        "CallsNotAnswered",
        {GOT_NOTHING: counting_meanwhile(300), GOT_ROWS: counting_meanwhile(300, 600)},
        also=AVAILABILITY,
        resolved_minute=MINUTES,
    ),
    Case("CircuitsOpen", {f"vecsec_circuits_open{{{GATEWAY}}}": meanwhile("2", 0)}),
    Case("StoreQueueLong", {"vecsec_store_calls_waiting": meanwhile("40", 3)}),
    Case("CellsClosedForMemory", {CLOSED: counting_meanwhile(60)}),
    Case("BackupOld", {EXPORTED: f"_x{CAUSE_MINUTE} {-3 * 86_400}x119 {CURED_MINUTE * 60}x{MINUTES}"}),
    Case("ShardWordsMissing", {'vecsec_shard_words_missing{instance="shard-0"}': meanwhile("1", 0)}),
    Case("CallersDenied", HALF_DENIED),
    Case(
        "EverybodyDenied",
        {DENIED: counting_meanwhile(600), GOT_ROWS: counting_meanwhile(0, 600)},
        also=frozenset({"CallersDenied"}),
    ),
    Case("StoreBusy", {REFUSED: counting_meanwhile(30), ANSWERED: counting_meanwhile(570, 600)}),
    Case("CallsTurnedAway", {f'vecsec_calls_shed_total{{{GATEWAY},reason="queue"}}': counting_meanwhile(30)}),
    Case(
        "CallsTurnedAway",
        {
            f'vecsec_calls_shed_total{{{GATEWAY},reason="tenant"}}': counting_meanwhile(300),
            REFUSED: counting_meanwhile(300),
        },
    ),
    Case(
        "RealRetrievalOff",
        {f'vecsec_feature_flag{{job="vecsec-{each}"}}': meanwhile("0", 1) for each in ("gateway", "retrieval")}
        | {'vecsec_mock_fallback_total{reason="flag_off"}': counting_meanwhile(600)},
    ),
    Case(
        "FlagMismatch",
        {'vecsec_feature_flag{job="vecsec-retrieval"}': meanwhile("0", 1)},
        also=frozenset({"RealRetrievalOff"}),
    ),
    Case("FlagFileBroken", {f"vecsec_feature_flag_file_errors_total{{{GATEWAY}}}": counting_meanwhile(1)}),
    Case("CellDamaged", {"vecsec_damaged_cells": meanwhile("1", 0)}),
    Case("OpenFilesLow", {'process_open_fds{job="vecsec-retrieval"}': meanwhile("1000", OPEN_FILES["open"])}),
    Case("StoreDiskLow", {"vecsec_store_free_bytes": meanwhile("1000000", 10**11)}),
    Case(
        "StoreDiskFilling",
        {"vecsec_store_free_bytes": f"{10**11}x{CAUSE_MINUTE - 1} {10**11}-{5 * 10**8}x119 {4 * 10**10}x{MINUTES}"},
        resolved_minute=MINUTES,
    ),
    Case(
        "TenantLimited",
        {
            f'vecsec_tenant_limit_refusals_total{{{GATEWAY},limit="searches_per_second"}}': counting_meanwhile(30),
            REFUSED: counting_meanwhile(30),
            ANSWERED: counting_meanwhile(570, 600),
        },
    ),
    Case("TenantLimited", {'vecsec_tenant_limit_refusals_total{limit="rows"}': counting_meanwhile(10)}),
    Case("StoreWritesRefused", {"vecsec_vector_store_writable": meanwhile("0", 1)}),
    *(Case("ServiceDown", {f'up{{job="vecsec-{each}"}}': meanwhile("0", 1)}) for each in ("policy", "retrieval")),
    Case("ServiceDown", {'up{job="vecsec-policy"}': meanwhile("_", 1)}),
    Case("ShardDown", {f'vecsec_shard_serving{{{GATEWAY},shard="shard-1"}}': meanwhile("0", 1)}),
    Case("StoreNotBelieved", {f'vecsec_store_not_believed{{{GATEWAY},shard=""}}': meanwhile("1", 0)}),
    Case("PlacementRefused", {f"vecsec_placement_file_refused{{{GATEWAY}}}": meanwhile("1", 0)}),
    Case("PlacementsDiffer", {'vecsec_placement_epoch{job="vecsec-retrieval"}': meanwhile("1", 2)}),
    Case("CrossTenantViolation", {VIOLATIONS % "cross_tenant_violation": counting_meanwhile(1)}),
    Case("ForeignRow", {VIOLATIONS % "document_tenant_violation": counting_meanwhile(1)}),
    Case("ForeignRow", {"vecsec_untagged_rows_total": counting_meanwhile(3)}),
    Case("PlanCheckDivergence", {"vecsec_plan_check_divergence_total": counting_meanwhile(1)}),
    Case("AuditLogFailing", {"vecsec_audit_write_failures_total": counting_meanwhile(1)}),
    Case("AuditLogFailing", {"vecsec_audit_records_lost_total": counting_meanwhile(1)}),
    Case("AuditLogFailing", {"vecsec_audit_recording": meanwhile("0", 1)}),
    Case("ForeignAccessUntold", {"vecsec_foreign_uses_oldest_seconds": meanwhile("900", 0)}),
    Case("ForeignAccessUntold", {'vecsec_foreign_calls_total{outcome="lost"}': counting_meanwhile(1)}),
    Case("ClocksDiffer", {"vecsec_grant_clock_lead_seconds": meanwhile("10", -1)}),
    Case("ClocksDiffer", {'vecsec_grants_refused_for_time_total{cause="future"}': counting_meanwhile(1)}),
    Case("ClocksDiffer", {'vecsec_grants_refused_for_time_total{cause="expired"}': counting_meanwhile(60)}),
    Case("AuditDiskLow", {"vecsec_audit_free_bytes": meanwhile("1000000", 10**11)}),
    Case("AuditDiskFilling", {"vecsec_audit_hours_until_full": meanwhile("3", 87_600)}),
    Case("PolicyReloadFailed", {'vecsec_policy_reload_failing{part="policy"}': meanwhile("1", 0)}),
    Case("IssuersFileRefused", {f"vecsec_issuers_file_refused{{{GATEWAY}}}": meanwhile("1", 0)}),
    Case("IssuerKeysMissing", {f'vecsec_issuer_keys{{{GATEWAY},issuer="a"}}': meanwhile("0", 2)}),
    Case(
        "IssuerKeysOld", {f'vecsec_issuer_keys_age_seconds{{{GATEWAY},issuer="https://a.test"}}': meanwhile("3600", 60)}
    ),
    Case(
        "CallersRefused",
        {f'vecsec_requests_total{{{SEARCH},code="UNAUTHENTICATED"}}': counting_meanwhile(400)},
    ),
    Case(
        "PolicyVersionsDiffer",
        {'vecsec_policy_info{stage="current",version="2",instance="b"}': f"_x{CAUSE_MINUTE} 1x119"},
    ),
    Case("CertificateExpiry", {f"vecsec_certificate_expiry_seconds{{{GATEWAY}}}": meanwhile("86400", 90 * 86_400)}),
    Case("CertificateReloadFailed", {f"vecsec_certificate_reload_failures_total{{{GATEWAY}}}": counting_meanwhile(1)}),
    Case(
        "AvailabilityBudgetBurn",
        {GOT_NOTHING: counting_meanwhile(24), GOT_ROWS: counting_meanwhile(576, 600)},
        resolved_minute=MINUTES,
    ),
    Case("AvailabilityBudgetBurn", {GOT_NOTHING: counting_meanwhile(5)}, resolved_minute=MINUTES),
    Case(
        "LatencyBudgetBurn",
        {FAST: counting_meanwhile(0, 600)},
        also=frozenset({"HighInferenceLatency"}),
        resolved_minute=MINUTES,
    ),
]


BY_NAME = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'


def run_promtool(
    folder: Path,
    series: dict[str, str],
    firing: dict[int, frozenset[str]],
    expression: str = BY_NAME,
    namespaces: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Whether exactly these alerts fire at these minutes, in these namespaces; what promtool found otherwise."""

    def labels(name: str) -> str:
        namespace = f', namespace="{namespaces[name]}"' if name in namespaces else ""
        return f'{{alertname="{name}"{namespace}}}'

    test = {
        "rule_files": [str(path) for path in RULE_FILES],
        "evaluation_interval": f"{EVALUATION_MINUTES}m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": labels(name), "value": 1} for name in sorted(names)],
                    }
                    for minute, names in firing.items()
                ],
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    program = find_program("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    return None if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_the_alert_fires_on_its_cause_alone_and_resolves(tmp_path: Path, case: Case) -> None:
    firing = {
        CAUSE_MINUTE - 1: frozenset[str](),
        case.fires_minute: frozenset({case.alert}) | case.also,
        case.resolved_minute: frozenset[str](),
    }
    problem = run_promtool(tmp_path, HEALTHY | case.series, firing)
    assert problem is None, problem


def test_a_healthy_day_is_silent(tmp_path: Path) -> None:
    problem = run_promtool(tmp_path, HEALTHY, {minute: frozenset() for minute in range(10, MINUTES, 60)})
    assert problem is None, problem


def test_a_day_without_any_call_is_silent(tmp_path: Path) -> None:
    idle = {
        name: values
        for name, values in HEALTHY.items()
        if name not in {SUCCESSES, ANSWERED, GOT_ROWS, FAST, SLOW, ALL, COUNT}
    }
    problem = run_promtool(tmp_path, idle, {minute: frozenset() for minute in range(10, MINUTES, 60)})
    assert problem is None, problem


def test_with_hardly_any_traffic_a_failed_search_pages_nobody(tmp_path: Path) -> None:
    hourly = " ".join(f"{hour}x59" for hour in range(MINUTES // 60))
    idle = {SUCCESSES: steady(0), GOT_ROWS: steady(0), ANSWERED: steady(0)}
    for failures in (TIMEOUTS, UNAVAILABLE, NOT_TRIED, GOT_NOTHING, DENIED):
        series = HEALTHY | idle | {failures: hourly}
        problem = run_promtool(tmp_path, series, {minute: frozenset() for minute in range(10, MINUTES, 5)})
        assert problem is None, problem


def test_one_slow_search_among_imports_pages_nobody(tmp_path: Path) -> None:
    none = dict.fromkeys((SLOW, FAST), steady(0))
    one = dict.fromkeys((ALL, COUNT), f"0x{CAUSE_MINUTE} 1x{MINUTES}")
    firing = {minute: frozenset[str]() for minute in range(CAUSE_MINUTE, CAUSE_MINUTE + 120, 5)}
    by_budget = 'count by (alertname) (ALERTS{alertstate="firing",alertname="LatencyBudgetBurn"}) > bool 0'
    problem = run_promtool(tmp_path, HEALTHY | none | one, firing, by_budget)
    assert problem is None, problem


def of_installation(name: str, series: dict[str, str]) -> dict[str, str]:
    """The same series as an installation's among several, told apart by the label `namespace`."""
    return {
        f'{metric}{{namespace="{name}"{"," if labels else "}"}{labels}': values
        for (metric, _, labels), values in ((each.partition("{"), values) for each, values in series.items())
    }


def test_installations_in_one_prometheus_do_not_mix(tmp_path: Path) -> None:
    """Ten times the traffic of another one hides nothing, differences between them are none, and only one is named."""
    quiet = {name: values for name, values in HEALTHY.items() if not name.startswith("vecsec_placement_epoch")}
    trouble = {
        NOT_TRIED: counting_meanwhile(60),
        SUCCESSES: counting_meanwhile(0, 60),
        'vecsec_feature_flag{job="vecsec-gateway"}': steady(1),
    }
    other = {f"vecsec_placement_epoch{{{GATEWAY}}}": steady(7), 'up{job="vecsec-policy"}': meanwhile("_", 1)}
    series = of_installation("one", HEALTHY | trouble) | of_installation("two", quiet | other)
    expected = {CAUSE_MINUTE - 1: set[str](), CURED_MINUTE - 1: {"VectorRetrievalFailure", "ServiceDown"}}
    problem = run_promtool(tmp_path, series, {minute: frozenset(names) for minute, names in expected.items()})
    assert problem is None, problem
    named = {"ServiceDown": "two", "VectorRetrievalFailure": "one"}
    by_namespace = 'count by (alertname, namespace) (ALERTS{alertstate="firing"}) > bool 0'
    problem = run_promtool(tmp_path, series, {CURED_MINUTE - 1: frozenset(named)}, by_namespace, named)
    assert problem is None, problem


def test_an_installation_that_is_gone_as_a_whole_is_named(tmp_path: Path) -> None:
    """Its targets are no longer there to be down; the other one, and an installation that is alone, too."""
    gone = {name: f"{values.split('x')[0]}x{CAUSE_MINUTE}" for name, values in HEALTHY.items()}
    once = 'count by (alertname, namespace) (ALERTS{alertstate="firing"}) == 1'
    firing = {CAUSE_MINUTE - 1: frozenset[str](), CAUSE_MINUTE + 15: frozenset({"ServiceDown"})}
    alone = of_installation("two", gone)
    for series in (of_installation("one", HEALTHY) | alone, alone):
        problem = run_promtool(tmp_path, series, firing, once, {"ServiceDown": "two"})
        assert problem is None, problem


def test_where_nothing_was_ever_scraped_that_is_told(tmp_path: Path) -> None:
    problem = run_promtool(tmp_path, {"up{job='other'}": steady(1)}, {CAUSE_MINUTE: frozenset({"ServiceDown"})})
    assert problem is None, problem


def test_a_few_slow_searches_are_no_incident(tmp_path: Path) -> None:
    hourly = " ".join(f"{hour}x59" for hour in range(MINUTES // 60))
    series = HEALTHY | dict.fromkeys((SLOW, ALL, COUNT), hourly) | {FAST: steady(0)}
    problem = run_promtool(tmp_path, series, {minute: frozenset() for minute in range(10, MINUTES, 5)})
    assert problem is None, problem


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == alert_names()
