"""What was done to cells, and what came of it, is printed at the end of the run."""

from collections.abc import Callable

import pytest

Note = Callable[..., None]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Writes a row of the table."""

    def write(*cells: object) -> None:
        request.node.user_properties.append(("done to a cell", " | ".join(map(str, cells))))

    return write
