"""What a service's metrics say of its clock, memberships, snapshots, and of what could not be put on record."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn

TOLERATED_LEAD_SECONDS = 15.0
"""Retrieval refuses grants from further in the future."""
_NOTED_LEAD_SECONDS = 3.0
"""Less is a matter of how long a call takes, and of whole seconds."""
_LEAD = "vecsec_grant_clock_lead_seconds"
_LATE = "vecsec_grant_late_seconds"
_EXPIRED = 'vecsec_grants_refused_for_time_total{cause="expired"}'
_PEOPLE, _GROUPS = 'vecsec_memberships{kind="people"}', 'vecsec_memberships{kind="groups"}'
_CHANGED = "vecsec_memberships_changed_timestamp_seconds"
_LOST = 'vecsec_foreign_calls_total{outcome="lost"}'
_WAITING, _OLDEST = "vecsec_foreign_uses_waiting", "vecsec_foreign_uses_oldest_seconds"
_TORN = 'vecsec_snapshots_total{outcome="torn"}'
_LONG_SECONDS = 60.0
_NTP = "synchronise the machines of policy and retrieval by NTP"


def told_by_metrics(lines: Iterable[str]) -> Iterator[CheckResult]:
    """What there is to say; nothing of what a service does not measure."""
    values = _values(lines)
    if _LEAD in values:
        yield _clocks(values)
    if _CHANGED in values:
        written = datetime.fromtimestamp(values[_CHANGED], UTC)
        people, groups = int(values.get(_PEOPLE, 0)), int(values.get(_GROUPS, 0))
        yield ok("memberships", f"{people:,} people, {groups:,} groups; written {written:%Y-%m-%d %H:%M:%S} UTC")
    if _WAITING in values:
        yield from _foreign_access(values)
    if values.get(_TORN, 0.0):
        yield warn(
            "snapshots",
            f"{values[_TORN]:,.0f} were not what was written since retrieval started; made again from the record",
            "nothing is lost, but look at the disk: retrieval.log says which files",
        )


def _clocks(values: Mapping[str, float]) -> CheckResult:
    check = "policy's clock"
    lead = values[_LEAD]
    if lead > TOLERATED_LEAD_SECONDS:
        refused = f"beyond {TOLERATED_LEAD_SECONDS:.0f} s grants are refused"
        return fail(check, f"policy's is {lead:.0f} s ahead; {refused}", _NTP)
    if lead > _NOTED_LEAD_SECONDS:
        return warn(check, f"policy's is {lead:.0f} s ahead; up to {TOLERATED_LEAD_SECONDS:.0f} s are tolerated", _NTP)
    # The same gauge tells of grants that are used for a while: those that hold are not looked at closer.
    if lead < -_NOTED_LEAD_SECONDS and values.get(_EXPIRED, 0.0):
        late = f"the grant that was refused last had expired {values.get(_LATE, 0.0):.0f} s before"
        return warn(check, f"{late}: used late, or policy's clock is up to {-lead:.0f} s behind", _NTP)
    return ok(check, "agree, by the grant that was verified last")


def _foreign_access(values: Mapping[str, float]) -> Iterator[CheckResult]:
    check = "access across tenants"
    remedy = "see `access across tenants` in retrieval.log; VECSEC_POLICY_ADDRESS is where it tells"
    lost, oldest = int(values.get(_LOST, 0)), values.get(_OLDEST, 0.0)
    if lost:
        yield warn(check, f"{lost:,} calls of other tenants' callers are not on record", remedy)
    elif oldest > _LONG_SECONDS:
        waiting = int(values[_WAITING])
        yield warn(check, f"the policy service could not be told of {waiting:,} for {oldest:.0f} s", remedy)


def _values(lines: Iterable[str]) -> Mapping[str, float]:
    """The metrics by series; what is no number is left out."""
    found: dict[str, float] = {}
    for line in lines:
        series, _, value = line.strip().rpartition(" ")
        try:
            found[series] = float(value)
        except ValueError:
            continue
    return found
