"""What services remember: whose it is, when it is forgotten, that it is counted. THREATS 10 (caches), 12 (metrics)."""

import re

from support.stack import Stack, document

from vecsec_chassis.server import RunningService

SERIES = re.compile(r'vecsec_cache_requests_total\{cache="([a-z_]+)",result="(hit|miss)"\}')


def caches(stack: Stack, service: RunningService) -> dict[str, dict[str, float]]:
    """Look-ups by cache and result."""
    uses: dict[str, dict[str, float]] = {}
    for series, count in stack.metrics(service).items():
        if series.startswith("vecsec_cache_requests_total"):
            named = SERIES.fullmatch(series)
            assert named is not None, f"{series} has other labels than the cache and the result"
            uses.setdefault(named[1], {})[named[2]] = count
    return uses


async def test_threat_12_every_service_counts_what_its_caches_had_and_tells_of_nobody(stack: Stack) -> None:
    await stack.load("tenant_a", document("plan", "the plan"))
    token = stack.issuer.token("tenant_a")
    services = (stack.gateway_service, stack.retrieval_service, stack.policy_service)

    async def used_by_a_search() -> list[dict[str, tuple[float, float]]]:
        before = [caches(stack, each) for each in services]
        assert await stack.ids(token, "tenant_a") == ["plan"]
        after = [caches(stack, each) for each in services]
        return [
            {cache: (now[cache]["hit"] - was[cache]["hit"], now[cache]["miss"] - was[cache]["miss"]) for cache in now}
            for was, now in zip(before, after, strict=True)
        ]

    gateway, retrieval, policy = await used_by_a_search()
    assert gateway["tokens"] == gateway["plans"] == (0, 1)
    assert retrieval["grants_verified"] == retrieval["residuals"] == retrieval["visible_labels"] == (0, 1)
    assert policy["verdicts"] == policy["grants_signed"] == policy["residuals"] == (0, 1)

    gateway, retrieval, policy = await used_by_a_search()
    assert gateway["tokens"] == gateway["plans"] == (1, 0)
    assert retrieval["grants_verified"] == retrieval["residuals"] == retrieval["visible_labels"] == (1, 0)
    assert policy["tokens"] == policy["verdicts"] == policy["standings"] == (1, 0)
    assert policy["grants_signed"] == (0, 0), "the gateway remembered its plan"
