"""A store in memory that notes what it is asked."""

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.worlds import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def store(recorder: Recorder) -> FakeCellStore:
    fake = FakeCellStore()
    fake.before = recorder
    return fake
