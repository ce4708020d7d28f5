"""The `vecsec` command against a scripted gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway, running


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def vecsec(gateway: FakeGateway, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    for variable in ("VECSEC_GATEWAY", "VECSEC_TOKEN", "VECSEC_STATE_DIR", "VECSEC_ROOT_CERTIFICATES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with running(gateway) as address:
        yield Command({"VECSEC_GATEWAY": address, "VECSEC_TOKEN": "t0ken", "VECSEC_STATE_DIR": str(state)})
