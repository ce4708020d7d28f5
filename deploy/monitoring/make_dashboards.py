"""Writes the Grafana dashboards into `dashboards/`: run it after a change; a test sees that they are current.

A dashboard is rows of panels; a panel is a title, a unit and its queries by legend. Everything else is alike.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 24, 8
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    unit: str
    """Grafana's name of it: short, reqps, s, bytes, percentunit, bool_yes_no."""
    queries: dict[str, str]
    """PromQL by legend."""
    description: str = ""


@dataclass(frozen=True)
class Dashboard:
    """A page of graphs."""

    name: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]


def per_second(metric: str, by: str = "", where: str = "") -> str:
    """How often a second, by labels."""
    grouping = f" by ({by})" if by else ""
    condition = f"{{{where}}}" if where else ""
    return f"sum{grouping} (rate({metric}{condition}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram, never without `rate` and `le`."""
    buckets = per_second(f"{metric}_bucket", ", ".join(filter(None, ("le", by))), where)
    return f"histogram_quantile({share}, {buckets})"


def hit_rate(service: str) -> str:
    """The share of look-ups in a service's caches that found something, by cache."""
    job, metric = f'job="vecsec-{service}"', "vecsec_cache_requests_total"
    hits, all_of_them = per_second(metric, "cache", f'{job},result="hit"'), per_second(metric, "cache", job)
    return f"{hits} / {all_of_them}"


GATEWAY_SEARCHES = 'job="vecsec-gateway",method="SearchDocuments"'

OVERVIEW = Dashboard(
    "overview",
    "VecSec: overview",
    (
        (
            Panel("Services that answer", "bool_yes_no", {"{{job}}": 'up{job=~"vecsec-.+"}'}),
            Panel(
                "Vector store, and real retrieval as each service sees it",
                "bool_yes_no",
                {"store": "vecsec_vector_store_up", "flag of {{job}}": "vecsec_feature_flag"},
            ),
            Panel(
                "Real and made-up answers",
                "reqps",
                {
                    "real": per_second("vecsec_vector_retrieval_success_total", where='operation="search"'),
                    "mock: {{reason}}": per_second("vecsec_mock_fallback_total", "reason"),
                },
            ),
        ),
        (
            Panel(
                "What callers get",
                "reqps",
                {
                    "{{outcome}} {{reason}}": per_second(
                        "vecsec_call_outcomes_total", "outcome, reason", 'job="vecsec-gateway"'
                    )
                },
                "Mock: made-up rows. Refused: theirs to mend. Unavailable and failed: ours.",
            ),
            Panel(
                "Calls to the gateway",
                "reqps",
                {"{{method}} {{code}}": per_second("vecsec_requests_total", "method, code", 'job="vecsec-gateway"')},
            ),
            Panel(
                "Time of a search",
                "s",
                {
                    "P50": quantile(0.5, "vecsec_request_duration_seconds", where=GATEWAY_SEARCHES),
                    "P95": quantile(0.95, "vecsec_request_duration_seconds", where=GATEWAY_SEARCHES),
                    "P99": quantile(0.99, "vecsec_request_duration_seconds", where=GATEWAY_SEARCHES),
                },
                "The service level: P95 of at most 3 s.",
            ),
            Panel(
                "Bad calls, last hour (the budget is 0.1 % and 5 %)",
                "percentunit",
                {
                    "not answered for real": "vecsec:unavailable:ratio_rate1h",
                    "slow": "vecsec:slow_searches:ratio_rate1h",
                },
            ),
        ),
    ),
)

RETRIEVAL = Dashboard(
    "retrieval",
    "VecSec: retrieval",
    (
        (
            Panel(
                "Real retrieval",
                "reqps",
                {
                    "{{operation}} answered": per_second("vecsec_vector_retrieval_success_total", "operation"),
                    "{{operation}} failed: {{reason}}": per_second(
                        "vecsec_vector_retrieval_failures_total", "operation, reason"
                    ),
                },
            ),
            Panel(
                "Time of real retrieval, P95, with retries",
                "s",
                {"{{operation}}": quantile(0.95, "vecsec_vector_retrieval_duration_seconds", "operation")},
            ),
            Panel(
                "Retries, and tenants whose circuit is open",
                "short",
                {
                    "retries of retrieval a second": per_second("vecsec_retrieval_retries_total"),
                    "retries of policy a second": per_second("vecsec_policy_retries_total"),
                    "circuits open": "sum(vecsec_circuits_open)",
                },
            ),
        ),
        (
            Panel(
                "Searches by strategy",
                "reqps",
                {"{{strategy}}": per_second("vecsec_search_strategy_total", "strategy")},
            ),
            Panel(
                "Time of calls to ChromaDB, P95",
                "s",
                {"{{operation}}": quantile(0.95, "vecsec_store_duration_seconds", "operation")},
            ),
            Panel(
                "Rows left out, and rows without whole tags",
                "short",
                {
                    "not visible to the caller, a second": per_second("vecsec_rows_filtered_total"),
                    "untagged, a second": per_second("vecsec_untagged_rows_total"),
                    "damaged cells": "sum(vecsec_damaged_cells)",
                },
            ),
        ),
    ),
)

POLICY = Dashboard(
    "policy",
    "VecSec: policy and violations",
    (
        (
            Panel(
                "Violations",
                "reqps",
                {"{{violation_type}}": per_second("vecsec_rlsa_violations_total", "violation_type")},
                "By tenant: `vecsec violations --tenant TENANT`, from the audit log. Prometheus knows no tenants.",
            ),
            Panel("Calls refused", "reqps", {"{{action}}": per_second("vecsec_denials_total", "action")}),
            Panel(
                "Rows checked",
                "reqps",
                {
                    "{{decision}}": per_second("vecsec_decisions_total", "decision"),
                    "refused though planned": per_second("vecsec_plan_check_divergence_total"),
                },
            ),
        ),
        (
            Panel(
                "Time of plan and check, P95",
                "s",
                {"{{method}}": quantile(0.95, "vecsec_request_duration_seconds", "method", 'job="vecsec-policy"')},
            ),
            Panel(
                "Grants signed, and what was decided anew",
                "reqps",
                {
                    "grants: {{action}}": per_second("vecsec_grants_issued_total", "action"),
                    "not remembered: {{cache}}": per_second(
                        "vecsec_cache_requests_total", "cache", 'job="vecsec-policy",result="miss"'
                    ),
                },
                "How often what is remembered was at hand: dashboard Capacity.",
            ),
            Panel(
                "Audit log",
                "short",
                {
                    "records written": "sum(vecsec_audit_head_sequence)",
                    "failed writes a second": per_second("vecsec_audit_write_failures_total"),
                    "records lost a second": per_second("vecsec_audit_records_lost_total"),
                },
            ),
            Panel(
                "Audit log's disk",
                "bytes",
                {
                    "audit log: {{instance}}": "vecsec_audit_bytes",
                    "free: {{instance}}": "vecsec_audit_free_bytes",
                    "waiting: {{instance}}": "vecsec_audit_waiting_bytes",
                },
                "Full in `vecsec_audit_hours_until_full` hours, at the pace of the last one.",
            ),
        ),
        (
            Panel(
                "Policies that decide, by number of replicas",
                "short",
                {"{{stage}} {{version}}": "count by (stage, version) (vecsec_policy_info)"},
            ),
            Panel(
                "Changes of files",
                "short",
                {
                    "{{part}} {{result}}": f"sum by (part, result) (increase(vecsec_policy_reloads_total[{RATE}]))",
                    "{{part}} is not in force": "max by (part) (vecsec_policy_reload_failing)",
                },
            ),
            Panel(
                "Candidate in the shadow",
                "reqps",
                {
                    "compared: {{kind}}": per_second("vecsec_policy_shadow_comparisons_total", "kind"),
                    "decides otherwise: {{kind}} {{change}}": per_second(
                        "vecsec_policy_shadow_disagreements_total", "kind, change"
                    ),
                    "without a decision": per_second("vecsec_policy_shadow_dropped_total"),
                },
            ),
        ),
    ),
)

CAPACITY = Dashboard(
    "capacity",
    "VecSec: capacity",
    (
        (
            Panel(
                "Memory of open cells, and its limit",
                "bytes",
                {"cells": "vecsec_index_bytes", "CHROMA_MEMORY_LIMIT": "vecsec_memory_limit_bytes"},
            ),
            Panel("Open cells, rows in memory", "short", {"cells": "vecsec_open_cells", "rows": "vecsec_hot_rows"}),
            Panel("Room on the disk of CHROMA_PATH", "bytes", {"free": "vecsec_store_free_bytes"}),
        ),
        (
            Panel("Memory of the processes", "bytes", {"{{job}}": 'process_resident_memory_bytes{job=~"vecsec-.+"}'}),
            Panel(
                "Processors in use",
                "short",
                {"{{job}}": per_second("process_cpu_seconds_total", "job", 'job=~"vecsec-.+"')},
            ),
            Panel(
                "Open files, share of what is allowed",
                "percentunit",
                {"{{job}}": 'process_open_fds{job=~"vecsec-.+"} / process_max_fds'},
            ),
        ),
        (
            Panel("Calls in flight", "short", {"{{job}}": "sum by (job) (vecsec_requests_in_flight)"}),
            Panel(
                "Time until certificates expire",
                "s",
                {"{{job}}": "min by (job) (vecsec_certificate_expiry_seconds) - time()"},
            ),
            Panel("Calls to ChromaDB, waiting or at work", "short", {"calls": "vecsec_store_calls_waiting"}),
        ),
        (
            Panel(
                "Calls turned away",
                "reqps",
                {"{{job}}, {{reason}}": per_second("vecsec_calls_shed_total", "job, reason")},
                "queue: too many wait; no_time: their deadline is too near; tenant: it has its share.",
            ),
            Panel("Calls served at once at most", "short", {"{{job}}": "sum by (job) (vecsec_admission_limit)"}),
            Panel("Calls that wait for their turn", "short", {"{{job}}": "sum by (job) (vecsec_calls_waiting)"}),
        ),
        tuple(
            Panel(f"Caches of {service}: share of look-ups that hit", "percentunit", {"{{cache}}": hit_rate(service)})
            for service in ("gateway", "retrieval", "policy")
        ),
    ),
)

SHARDS = Dashboard(
    "shards",
    "VecSec: shards",
    (
        (
            Panel(
                "Shards that serve",
                "bool_yes_no",
                {
                    "{{shard}}": "min by (namespace, shard) (vecsec_shard_serving)",
                    "not believed: {{shard}}": "max by (namespace, shard) (vecsec_store_not_believed)",
                    "left alone: {{shard}}": "max by (namespace, shard) (vecsec_shard_circuit_open)",
                },
                "As the gateways see them; without a placement there is one, without a name.",
            ),
            Panel(
                "Tenants of each shard",
                "short",
                {
                    "{{instance}}": "vecsec_shard_tenants",
                    "placed elsewhere: {{instance}}": "vecsec_shard_displaced_tenants",
                },
            ),
            Panel(
                "What keeps new tenants waiting",
                "short",
                {
                    "words missing: {{instance}}": "vecsec_shard_words_missing",
                    "epoch of {{job}} {{instance}}": "vecsec_placement_epoch",
                },
                "No tenant begins while a shard has not said what it holds, or services go by different placements.",
            ),
        ),
        (
            Panel(
                "Searches of each shard",
                "reqps",
                {"{{instance}}": per_second("vecsec_search_strategy_total", "instance")},
            ),
            Panel(
                "Memory of open cells of each shard",
                "bytes",
                {"{{instance}}": "vecsec_index_bytes", "available: {{instance}}": "vecsec_index_available_bytes"},
            ),
            Panel("Room on the disk of each shard", "bytes", {"{{instance}}": "vecsec_store_free_bytes"}),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, RETRIEVAL, POLICY, CAPACITY, SHARDS)


def as_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    for row, members in enumerate(dashboard.rows):
        for column, panel in enumerate(members):
            width = WIDTH // len(members)
            place = {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": f"vecsec-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["vecsec"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    described = {"description": panel.description} if panel.description else {}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        **described,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def texts() -> dict[str, str]:
    """What belongs into each file of the folder, by its name."""
    return {
        f"{each.name}.json": json.dumps(as_grafana(each), indent=1, ensure_ascii=False) + "\n" for each in DASHBOARDS
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
