"""What was done to cells, and what came of it, is printed at the end of the run."""

from collections.abc import Callable

import pytest
from faults.extent import DONE_TO_A_CELL

Note = Callable[..., None]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Writes a row of the table."""

    def write(*cells: object) -> None:
        request.node.user_properties.append((DONE_TO_A_CELL, " | ".join(map(str, cells))))

    return write
