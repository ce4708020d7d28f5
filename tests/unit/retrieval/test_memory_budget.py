"""Sizes, and who has to go."""

import pytest

from vecsec_chassis.domain.sizes import parse_size
from vecsec_retrieval.memory.budget import MemoryBudget, most_awake_cells, resident_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 * 2**20), ("1G", 2**30), ("1.5GiB", 3 * 2**29), ("10kb", 10_240), ("7", 7), (" 2 g ", 2**31)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "1X", "1G1", "G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_least_recently_used_go_first_until_the_rest_fits() -> None:
    budget = MemoryBudget(100)
    for name in ("a", "b", "c"):
        budget.resize(name, 40)
    assert budget.is_exceeded
    assert budget.excess(["a", "b", "c"]) == ["a"]
    assert budget.excess(["not accounted for yet", "b", "c", "a"]) == ["b"]
    budget.remove("b")
    assert budget.excess(["c", "a"]) == []
    assert not budget.is_exceeded
    budget.resize("a", 90)
    assert budget.total_bytes == 130
    assert budget.excess(["c", "a"]) == ["c"]


def test_the_process_itself_takes_its_share_but_leaves_a_half() -> None:
    assert MemoryBudget(100, reserved_bytes=30).available_bytes == 70
    assert MemoryBudget(100, reserved_bytes=90).available_bytes == 50


def test_the_last_one_stays_whatever_it_takes() -> None:
    budget = MemoryBudget(100)
    budget.resize("a", 1_000)
    assert budget.excess(["a"]) == []


def test_there_are_descriptors_for_at_least_one_cell() -> None:
    assert most_awake_cells() >= 1


def test_the_process_knows_what_it_takes() -> None:
    assert 2**20 < resident_bytes() < 2**40
