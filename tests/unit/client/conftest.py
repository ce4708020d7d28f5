"""A scripted gateway, and one set of calls that runs through both clients."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.client_caller import QUICK, Caller, MakeCaller
from support.fake_gateway import FakeGateway, running

from vecsec_client import AsyncVecSecClient, VecSecClient


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def address(gateway: FakeGateway) -> Iterator[str]:
    with running(gateway) as address:
        yield address


@pytest.fixture(params=["blocking", "asyncio"])
async def make_caller(request: pytest.FixtureRequest, address: str) -> AsyncIterator[MakeCaller]:
    """Makes a caller for the scripted gateway, with other settings where a test needs them."""
    made: list[Caller] = []

    def make(**settings: Any) -> Caller:
        settings = {"token": "t0ken", "default_tenant": "tenant_a", "retry_policy": QUICK, **settings}
        kind = VecSecClient if request.param == "blocking" else AsyncVecSecClient
        caller = Caller(kind(settings.pop("address", address), **settings))
        made.append(caller)
        return caller

    yield make
    for caller in made:
        await caller.call("close")


@pytest.fixture
def caller(make_caller: MakeCaller) -> Caller:
    return make_caller()
