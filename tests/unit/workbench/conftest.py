"""The `vecsec policy` commands, and policy folders to be changed."""

import shutil
from pathlib import Path

import pytest
from support.cli_command import Command
from unit.workbench.recorded import Recorded

from vecsec_policy.settings import PACKAGED_POLICY


@pytest.fixture
def vecsec() -> Command:
    """The command, in an environment that names no policy and no gateway."""
    return Command({"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged policy."""
    return shutil.copytree(PACKAGED_POLICY, tmp_path / "policy")


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """An audit log without a record yet."""
    return Recorded(tmp_path / "audit.jsonl")
