"""What deploy/monitoring holds, as tests look at it."""

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
RULE_FILES = sorted((MONITORING / "rules").glob("*.yaml"))
DASHBOARD_FILES = sorted((MONITORING / "dashboards").glob("*.json"))

ONLY_WITH_SHARDS = frozenset(
    {"vecsec_shard_tenants", "vecsec_shard_displaced_tenants", "vecsec_shard_words_missing", "vecsec_shard_info"}
)
"""What a retrieval service shows that is a shard of several."""

_OUR_METRIC = re.compile(r"\b(?:vecsec_|process_)\w+")


def rules() -> list[dict[str, Any]]:
    """All rules, recording and alerting."""
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def alert_names() -> set[str]:
    """The alerts by name; several rules may share one."""
    return {rule["alert"] for rule in alerts()}


def metrics_in(expression: str) -> set[str]:
    """The metrics of ours that a PromQL expression names; recorded ones (`vecsec:…`) are not among them."""
    return set(_OUR_METRIC.findall(expression))
