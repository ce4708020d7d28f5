"""Policy ahead of retrieval in time: tolerated within the skew; beyond it named, with by how much."""

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.refusals import refusal
from support.stack import document, running_stack

from vecsec_chassis.auth import grants
from vecsec_cli.checks.finding import CheckState
from vecsec_cli.checks.services import _metrics


@pytest.mark.parametrize(("ahead", "state"), [(10.0, CheckState.WARN), (20.0, CheckState.FAIL)])
async def test_policy_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, state: CheckState) -> None:
    signed = grants.sign

    def sign_ahead(claims: dict[str, object], *arguments: object, **keywords: object) -> str:
        later = {"iat": int(time.time() + ahead), "exp": time.time() + ahead + 60}
        return signed(claims | later, *arguments, **keywords)  # type: ignore[arg-type]

    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", document("a", "a note"))
        monkeypatch.setattr(grants, "sign", sign_ahead)
        token = stack.issuer.token(subject="somebody new")
        with capture_logs() as lines:
            if ahead < grants.MOST_CLOCK_LEAD_SECONDS:
                assert await stack.ids(token, "tenant_a") == ["a"]
            else:
                refused = await refusal(stack.search(token, "tenant_a"))
                assert refused.message.endswith(
                    "refuses the policy service's grants: their clocks or their keys differ"
                )
                told = [str(line.get("detail")) for line in lines if line["event"] == "call refused"]
                assert any("the clocks of the policy service and of this one differ" in each for each in told)
        metrics = stack.metrics(stack.retrieval_service)
        assert ahead - 2 < metrics["vecsec_grant_clock_lead_seconds"] <= ahead
        assert (metrics['vecsec_grants_refused_for_time_total{cause="future"}'] > 0) == (state is CheckState.FAIL)
        url = f"http://127.0.0.1:{stack.retrieval_service.metrics_port}/metrics"
        [clocks] = [each for each in _metrics("retrieval", url) if each.check == "policy's clock"]
        assert clocks.state is state
        assert clocks.detail.startswith((f"policy's is {ahead:.0f} s ahead", f"policy's is {ahead - 1:.0f} s ahead"))
