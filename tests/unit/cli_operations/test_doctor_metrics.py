"""`vecsec doctor` on what metrics tell: clocks, memberships, access across tenants that is not on record."""

import pytest

from vecsec_cli.checks.finding import CheckState
from vecsec_cli.checks.metrics import told_by_metrics

EXPIRED = 'vecsec_grants_refused_for_time_total{cause="expired"} 7'
CLOCKS = "policy's clock"


@pytest.mark.parametrize(
    ("lines", "state", "detail"),
    [
        (["vecsec_grant_clock_lead_seconds -0.4"], CheckState.OK, "agree, by the grant that was verified last"),
        (["vecsec_grant_clock_lead_seconds -40.0"], CheckState.OK, "agree, by the grant that was verified last"),
        (["vecsec_grant_clock_lead_seconds -0.4", EXPIRED], CheckState.OK, "agree, by the grant"),
        (["vecsec_grant_clock_lead_seconds 9.7"], CheckState.WARN, "policy's is 10 s ahead; up to 15 s are tolerated"),
        (
            ["vecsec_grant_clock_lead_seconds 20.0"],
            CheckState.FAIL,
            "policy's is 20 s ahead; beyond 15 s grants are refused",
        ),
        (
            ["vecsec_grant_clock_lead_seconds -65.0", "vecsec_grant_late_seconds 5.0", EXPIRED],
            CheckState.WARN,
            "the grant that was refused last had expired 5 s before: used late, or policy's clock is up to 65 s behind",
        ),
    ],
)
def test_clocks(lines: list[str], state: CheckState, detail: str) -> None:
    [found] = told_by_metrics(lines)
    assert (found.check, found.state) == (CLOCKS, state)
    assert found.detail.startswith(detail)


def test_memberships() -> None:
    lines = [
        'vecsec_memberships{kind="people"} 1200.0',
        'vecsec_memberships{kind="groups"} 30.0',
        "vecsec_memberships_changed_timestamp_seconds 1.7e+09",
    ]
    [found] = told_by_metrics(lines)
    assert found.detail == "1,200 people, 30 groups; written 2023-11-14 22:13:20 UTC"
    assert list(told_by_metrics(lines[:2])) == [], "there is no file"


def test_access_that_is_not_on_record() -> None:
    waiting = ["vecsec_foreign_uses_waiting 3.0", "vecsec_foreign_uses_oldest_seconds 90.0"]
    [found] = told_by_metrics(waiting)
    assert (found.state, found.detail) == (CheckState.WARN, "the policy service could not be told of 3 for 90 s")
    [found] = told_by_metrics([*waiting, 'vecsec_foreign_calls_total{outcome="lost"} 2.0'])
    assert found.detail == "2 calls of other tenants' callers are not on record"
    assert list(told_by_metrics(["vecsec_foreign_uses_waiting 3.0", "vecsec_foreign_uses_oldest_seconds 1.0"])) == []
    assert list(told_by_metrics(["no metric at all"])) == []
