"""A store in memory that notes what it is asked."""

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.worlds import Recorder


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_large_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets off the load of a small one has it in memory, however long that takes."""
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SECONDS", 60)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def store(recorder: Recorder) -> FakeCellStore:
    fake = FakeCellStore()
    fake.before = recorder
    return fake
