"""Who is woken: what fires by the rules and is not inhibited by alertmanager.yml, before, during and after a cause.

`promtool` asks every minute, so that a consequence that outlives its cause, and would be a second page, is seen.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.monitoring import MONITORING, RULE_FILES
from support.parts import find_program
from support.waiting import COMMAND_SECONDS

pytestmark = pytest.mark.prometheus

STEP_SECONDS = 20
LOOK_SECONDS = 60
BEFORE, LASTS, AFTER = 190, 42, 50
"""In steps; before, more than the hour that the budget looks back over."""
LATE = 3
"""Steps for which callers still meet what is over: a circuit is open, a connection waits before it is tried again."""
GATEWAY = 'job="vecsec-gateway",instance="g"'
OUTCOMES = f'vecsec_call_outcomes_total{{{GATEWAY},outcome="%s",reason="%s"}}'
ANSWERED, MOCK = OUTCOMES % ("answered", ""), OUTCOMES % ("mock", "retrieval_failed")
FAILED = f'vecsec_vector_retrieval_failures_total{{{GATEWAY},operation="search",reason="RETRIEVAL_UNAVAILABLE"}}'
FOUND = f'vecsec_vector_retrieval_success_total{{{GATEWAY},operation="search"}}'
STORE = 'vecsec_vector_store_up{job="vecsec-retrieval",instance="%s"}'
UP = 'up{job="vecsec-%s",instance="%s"}'


def state(otherwise: float, meanwhile: str) -> str:
    """A gauge with another value while the cause lasts; `_` for none."""
    return f"{otherwise}x{BEFORE - 1} {meanwhile}x{LASTS - 1} {otherwise}x{AFTER}"


def counter(otherwise: float, meanwhile: float, late: int = LATE) -> str:
    """A counter with another growth a step while the cause lasts, and until callers have noticed that it is over."""
    lasts = LASTS + late
    first = otherwise * BEFORE
    second = first + meanwhile * lasts
    return f"0+{otherwise}x{BEFORE - 1} {first}+{meanwhile}x{lasts - 1} {second}+{otherwise}x{AFTER - late}"


def outage(reason: str, share: float = 1.0) -> dict[str, str]:
    """Calls that end so, beside such that are answered."""
    outcome = "unavailable" if reason.endswith("_UNAVAILABLE") else "failed"
    return {OUTCOMES % (outcome, reason): counter(0, 10 * share), ANSWERED: counter(10, 10 * (1 - share))}


def no_rows(share: float = 1.0) -> dict[str, str]:
    """Searches that retrieval fails."""
    return {
        FAILED: counter(0, 10 * share),
        FOUND: counter(10, 10 * (1 - share)),
        MOCK: counter(0, 10 * share),
        ANSWERED: counter(10, 10 * (1 - share)),
    }


HEALTHY = {
    UP % ("gateway", "g"): state(1, "1"),
    UP % ("policy", "p"): state(1, "1"),
    **{UP % ("retrieval", each): state(1, "1") for each in ("r0", "r1")},
    **{STORE % each: state(1, "1") for each in ("r0", "r1")},
    ANSWERED: counter(10, 10),
}


@dataclass(frozen=True)
class Cause:
    """What happens, and who alone is to wake people for it."""

    pages: frozenset[str]
    series: dict[str, str]


def cause(pages: str, *series: dict[str, str]) -> Cause:
    merged: dict[str, str] = {}
    for each in series:
        merged |= each
    return Cause(frozenset(pages.split()), merged)


KEYS = 'vecsec_issuer_keys{job="vecsec-gateway",instance="g",issuer="a"}'
GONE = {UP % ("retrieval", "r1"): state(1, "0"), STORE % "r1": state(1, "_")}
SHARDS = {
    f'vecsec_shard_info{{job="vecsec-retrieval",instance="r{each}",shard="shard-{each}"}}': state(1, "1")
    for each in (0, 1)
}
CAUSES = {
    "the process of a shard is gone": cause(
        "ServiceDown",
        GONE,
        SHARDS,
        {f'vecsec_shard_serving{{{GATEWAY},shard="shard-1"}}': state(1, "0")},
        no_rows(0.3),
    ),
    "retrieval is gone": cause("ServiceDown", GONE, no_rows()),
    "policy is gone": cause("ServiceDown", {UP % ("policy", "p"): state(1, "0")}, outage("POLICY_UNAVAILABLE")),
    "the store is gone": cause("VectorStoreDown", {STORE % "r0": state(1, "0")}, no_rows()),
    "a shard is gone": cause(
        "ShardDown", {f'vecsec_shard_serving{{{GATEWAY},shard="1"}}': state(1, "0")}, no_rows(0.3)
    ),
    "an issuer's keys are gone": cause("IssuerKeysMissing", {KEYS: state(2, "0")}, outage("KEYS_UNAVAILABLE", 0.4)),
    "the audit log is full": cause(
        "AuditLogFailing",
        {'vecsec_audit_recording{job="vecsec-policy",instance="p"}': state(1, "0")},
        outage("AUDIT_UNAVAILABLE"),
    ),
    "some searches fail": cause("VectorRetrievalFailure", no_rows(0.08)),
    "some calls end in errors": cause("CallsNotAnswered", outage("INTERNAL", 0.08)),
    "callers' deadlines pass": cause("CallsNotAnswered", outage("DEADLINE_EXCEEDED")),
    "policy hangs while a client hammers with an expired token": cause(
        "CallsNotAnswered",
        outage("POLICY_UNAVAILABLE"),
        {OUTCOMES % ("refused", "INVALID_TOKEN"): counter(1_000, 1_000)},
    ),
    "everybody is denied beside such a client": cause(
        "EverybodyDenied",
        {OUTCOMES % ("refused", "ACCESS_DENIED"): counter(0, 10), ANSWERED: counter(10, 0)},
        {OUTCOMES % ("refused", "INVALID_TOKEN"): counter(30, 30)},
    ),
    "a client that is always denied is alone": cause(
        "", {OUTCOMES % ("refused", "ACCESS_DENIED"): counter(0, 1.5), ANSWERED: counter(0, 0)}
    ),
    # What has a cause of its own is told beside another.
    "a shard does not serve beside another's process": cause(
        "ServiceDown ShardDown",
        GONE,
        SHARDS,
        {f'vecsec_shard_serving{{{GATEWAY},shard="{each}"}}': state(1, "0") for each in ("shard-0", "shard-1")},
        no_rows(),
    ),
    "one store is gone beside another's process": cause(
        "ServiceDown VectorStoreDown", GONE, {STORE % "r0": state(1, "0")}, no_rows()
    ),
    "policy does not answer while an issuer has no keys": cause(
        "IssuerKeysMissing CallsNotAnswered", {KEYS: state(2, "0")}, outage("POLICY_UNAVAILABLE")
    ),
    "calls end in errors while the audit log fails": cause(
        "AuditLogFailing CallsNotAnswered",
        {'vecsec_audit_recording{job="vecsec-policy",instance="p"}': state(1, "0")},
        outage("INTERNAL", 0.5),
    ),
}


def selector(matchers: list[str], *further: str) -> str:
    """Alerts that fire and match, as Alertmanager writes matchers."""
    written = []
    for each in matchers:
        name, operator, value = each.split(maxsplit=2)
        written.append(f'{name}{operator}"{value.strip(chr(34))}"')
    return f"ALERTS{{{','.join(['alertstate=' + chr(34) + 'firing' + chr(34), *written, *further])}}}"


def hidden() -> Iterator[str]:
    """What each rule of Alertmanager's hides."""
    configuration: dict[str, Any] = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
    for rule in configuration["inhibit_rules"]:
        source, target = selector(rule["source_matchers"]), selector(rule["target_matchers"])
        yield f"({target} and on ({', '.join(rule['equal'])}) {source})"


def pages() -> str:
    """The names of alerts that wake somebody."""
    return f"count by (alertname) ({selector(['severity = critical'])} unless ({' or '.join(hidden())})) > bool 0"


def other_pages(allowed: frozenset[str]) -> str:
    expected = f'alertname!~"{"|".join(sorted(allowed)) or "none"}"'
    return f"{selector(['severity = critical'], expected)} unless ({' or '.join(hidden())})"


def groups() -> list[str]:
    return [each["name"] for path in RULE_FILES for each in yaml.safe_load(path.read_text())["groups"]]


@pytest.mark.parametrize("order", [groups(), groups()[::-1]], ids=["as written", "the other way round"])
@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_wakes_people_once_and_so_does_its_end(tmp_path: Path, name: str, order: list[str]) -> None:
    happens = CAUSES[name]
    cured = (BEFORE + LASTS) * STEP_SECONDS
    looks = range(BEFORE * STEP_SECONDS, (BEFORE + LASTS + AFTER) * STEP_SECONDS, LOOK_SECONDS)
    woken = [{"labels": f'{{alertname="{each}"}}', "value": 1} for each in sorted(happens.pages)]
    asked = [
        {"expr": other_pages(happens.pages), "eval_time": f"{second}s", "exp_samples": list[Any]()} for second in looks
    ]
    asked += [
        {"expr": pages(), "eval_time": f"{cured - STEP_SECONDS}s", "exp_samples": woken},
        {"expr": pages(), "eval_time": f"{looks[-1]}s", "exp_samples": []},
    ]
    series = [{"series": each, "values": values} for each, values in (HEALTHY | happens.series).items()]
    test = {
        "rule_files": [str(path) for path in RULE_FILES],
        "evaluation_interval": f"{STEP_SECONDS}s",
        # Prometheus evaluates groups side by side: what one looks up in another may be of the step before.
        "group_eval_order": order,
        "tests": [{"interval": f"{STEP_SECONDS}s", "input_series": series, "promql_expr_test": asked}],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    program = find_program("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[:3_000]
