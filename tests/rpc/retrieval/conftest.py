"""A retrieval service and the key that signs its grants."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.retrieval_alone import Service, Signer, running


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
async def service(tmp_path: Path, signer: Signer) -> AsyncIterator[Service]:
    async with running(tmp_path, signer) as running_service:
        yield running_service
