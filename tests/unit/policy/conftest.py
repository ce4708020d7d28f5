"""The packaged policy, and copies of it to be changed."""

import shutil
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from support.crossing import let_admins_cross

from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.settings import PACKAGED_POLICY


@pytest.fixture(scope="session")
def packaged() -> PolicySnapshot:
    """The default policy, compiled."""
    return load_snapshot(PACKAGED_POLICY)


@pytest.fixture(scope="session")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> PolicySnapshot:
    """The same where a deployment lets its admins read across tenants."""
    return load_snapshot(let_admins_cross(shutil.copytree(PACKAGED_POLICY, tmp_path_factory.mktemp("a") / "policy")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy folder of one's own."""
    return shutil.copytree(PACKAGED_POLICY, tmp_path / "policy")


@pytest.fixture
def metrics() -> PolicyMetrics:
    """Instruments that nobody reads."""
    return PolicyMetrics(MeterProvider().get_meter("test"))
