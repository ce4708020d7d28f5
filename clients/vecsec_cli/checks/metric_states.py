"""What a service's metrics say of its parts: the same numbers that alerts look at, in words."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vecsec_cli.checks.finding import CheckResult, fail, warn

_Make = Callable[[str, str, str], CheckResult]


@dataclass(frozen=True, slots=True)
class _State:
    """When a number is a finding."""

    metric: str
    is_wrong: Callable[[float], bool]
    make: _Make
    check: str
    detail: str
    """With the metric's labels as `{labels}` and its value as `{value}`."""
    remedy: str


def _is_zero(value: float) -> bool:
    return value == 0


def _is_some(value: float) -> bool:
    return value > 0


_STATES = (
    _State(
        *("vecsec_vector_store_up", _is_zero, fail, "vector store"),
        *("does not answer", "RUNBOOK: Vector store connectivity"),
    ),
    _State(
        *("vecsec_vector_store_writable", _is_zero, fail, "vector store"),
        *("takes no writes: its disk has no room, or is read-only", "free some room, or mount it for writing"),
    ),
    _State(
        *("vecsec_damaged_cells", _is_some, fail, "cells"),
        *("{value:.0f} cannot be read; other tenants are not affected", "RUNBOOK: A damaged cell"),
    ),
    _State(
        *("vecsec_audit_recording", _is_zero, fail, "audit log"),
        *("cannot be written", "free some room on its disk, or mount it for writing"),
    ),
    _State(
        *("vecsec_audit_hours_until_full", lambda hours: hours < 24, warn, "audit log"),
        *("its disk is full in {value:.1f} hours", "free some room, or let VECSEC_AUDIT_BYTES_KEPT keep less"),
    ),
    _State(
        *("vecsec_policy_reload_failing", _is_some, warn, "changed files"),
        *("are not in force {labels}", "`vecsec policy check` says what is wrong"),
    ),
    _State(
        *("vecsec_issuer_keys", _is_zero, fail, "issuers"),
        *("no keys of one {labels}: its callers are told UNAVAILABLE", "`vecsec issuers check`"),
    ),
    _State(
        *("vecsec_issuer_keys_age_seconds", lambda seconds: seconds > 900, warn, "issuers"),
        *("no newer keys of one {labels} for {value:.0f} s", "`vecsec issuers check`"),
    ),
    _State(
        *("vecsec_issuers_file_refused", _is_some, warn, "issuers"),
        *("the changed file is refused, the last good one in force", "`vecsec issuers check`"),
    ),
    _State(
        *("vecsec_placement_file_refused", _is_some, warn, "placement"),
        *("the changed file is refused, the last good one in force", "RUNBOOK: A shard is down, lost, or to be added"),
    ),
    _State(
        *("vecsec_store_not_believed", _is_some, fail, "shards"),
        *("one is not the store that it should be {labels}", "RUNBOOK: A shard is down, lost, or to be added"),
    ),
    _State(
        *("vecsec_shard_serving", _is_zero, fail, "retrieval, as the gateway sees it"),
        *("does not serve {labels}", "look at retrieval's own lines here"),
    ),
    _State(
        *("vecsec_circuits_open", _is_some, warn, "circuits"),
        *("retrieval is left alone for {value:.0f} tenants", "RUNBOOK: CircuitsOpen"),
    ),
    _State(
        *("vecsec_shard_words_missing", _is_some, warn, "shards"),
        *("{value:.0f} others have not said what they hold: no new tenant begins here", "`vecsec shards`"),
    ),
)


def told_by_states(lines: Iterable[str]) -> Iterator[CheckResult]:
    """What is wrong by these lines of a metrics page; nothing of what is well or not measured."""
    by_metric = {
        metric: [state for state in _STATES if state.metric == metric] for metric in {s.metric for s in _STATES}
    }
    for line in lines:
        series, _, number = line.strip().rpartition(" ")
        metric, _, labels = series.partition("{")
        for state in by_metric.get(metric, ()):
            value = float(number)
            if state.is_wrong(value):
                shown = f"({labels.rstrip('}')})" if labels.strip("}") else ""
                detail = state.detail.format(value=value, labels=shown).replace("  ", " ").strip()
                yield state.make(state.check, detail, state.remedy)
