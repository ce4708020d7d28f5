"""What a gateway goes by while the policy service does not say what a tenant may."""

from dataclasses import replace

from structlog.testing import capture_logs
from support.waiting import until

from vecsec_chassis.domain.errors import PolicyUnavailable
from vecsec_chassis.domain.tenant_limits import GENEROUS, TenantLimits
from vecsec_gateway.limits.known_limits import KnownLimits


async def test_what_is_gone_by_meanwhile_is_told_as_it_is() -> None:
    now, answers = 0.0, [None, replace(GENEROUS, rows=7), None]

    async def ask(_token: str, _tenant_id: str) -> TenantLimits:
        answer = answers.pop(0)
        if answer is None:
            raise PolicyUnavailable("gone")
        return answer

    known = KnownLimits(ask, lambda: now)
    with capture_logs() as logs:
        assert known.of("tenant_a", "token") == GENEROUS
        await until(lambda: len(logs) == 1)
        now = 5.0
        assert known.of("tenant_a", "token") == GENEROUS
        await until(lambda: known.of("tenant_a", "token").rows == 7)
        now = 10.0
        known.of("tenant_a", "token")
        await until(lambda: len(logs) == 2)
    assert known.of("tenant_a", "token").rows == 7
    assert [(each["event"], each["meanwhile"]) for each in logs] == [
        ("limits of a tenant cannot be asked for", "the generous ones of one that says nothing"),
        ("limits of a tenant cannot be asked for", "the last that were told"),
    ]
    await known.aclose()
