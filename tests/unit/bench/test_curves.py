"""Rows are shared out so that each caller sees the share that the plot says."""

import pytest
from bench.curves import CALLERS, level_by_share

ROWS = 10_000


@pytest.mark.parametrize("share", CALLERS)
def test_a_caller_sees_its_share_of_the_rows(share: float) -> None:
    highest = CALLERS[share][2]
    visible = sum(level_by_share(row) <= highest for row in range(ROWS))
    assert visible == share * ROWS
