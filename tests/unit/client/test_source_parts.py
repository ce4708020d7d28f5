"""Which sources a large file may be."""

from vecsec_client import of_file
from vecsec_client.sources import MOST_PARTS, all_parts, file_and_part, part_id


def test_a_file_is_all_of_its_parts_and_a_part_itself() -> None:
    parts = all_parts("a/big.md")
    assert len(parts) == MOST_PARTS == 256
    assert parts[:2] == ("a/big.md", "a/big.md#part2")
    assert [file_and_part(each) for each in parts] == [("a/big.md", number) for number in range(1, 257)]
    assert all_parts("a/big.md#part2") == ("a/big.md#part2",)
    assert of_file("a.md").source_ids == all_parts("a.md")


def test_no_part_is_longer_than_an_id_may_be() -> None:
    name = "é" * 252 + "x"  # of 505 bytes
    assert all_parts(name) == (name, *(part_id(name, number) for number in range(2, 100)))
    assert all_parts("x" * 512) == ("x" * 512,)
