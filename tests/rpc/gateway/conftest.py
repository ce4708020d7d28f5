"""The gateway in its production wiring, between peers that fail in every way the real ones should not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.gateway_peers import GatewayWithPeers, gateway_with_peers


@pytest.fixture(params=[pytest.param(0, id="calls"), pytest.param(2, id="lanes")])
async def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[GatewayWithPeers]:
    """Calls to the peers go by themselves or over lanes; nothing that a caller sees depends on it."""
    async with gateway_with_peers(tmp_path, lanes=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def never_late_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the gateway is late, and then blames no peer; that is tested in `rpc/test_admission`."""
    monkeypatch.setattr("vecsec_gateway.peers.own_delay.LATE_SECONDS", 3600.0)
