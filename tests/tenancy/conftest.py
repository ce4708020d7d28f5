"""A fresh installation for each threat."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stack import Stack, running_stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        yield running
