"""Real services for the distributions of frameworks."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.background_loop import BackgroundLoop
from support.stack import Stack, running_stack

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before it is imported: no test calls home


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One installation for the tests of a file, in a loop of its own: they call it from threads and other loops."""
    with ExitStack() as leaving:
        loop = BackgroundLoop()
        leaving.callback(loop.close)
        folder: Path = tmp_path_factory.mktemp("stack")
        running, leave = loop.enter(running_stack(folder))
        leaving.callback(leave)
        yield running
