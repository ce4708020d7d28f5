"""The operator's commands against a scripted gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway, running

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import collection_pb2


@pytest.fixture
def gateway() -> FakeGateway:
    """A gateway whose tenant has the collection `documents`."""
    collection = collection_pb2.Collection(collection_id="documents")
    return FakeGateway(answers={"ListCollections": gateway_pb2.ListCollectionsResponse(collections=[collection])})


@pytest.fixture
def vecsec(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    with running(gateway) as address:
        state = str(tmp_path / "state")
        yield Command({"VECSEC_GATEWAY": address, "VECSEC_TOKEN": "t0ken", "VECSEC_STATE_DIR": state})
