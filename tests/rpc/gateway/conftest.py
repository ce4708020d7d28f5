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
