"""Texts of any length are kept in metadata, whose own texts are short."""

from hypothesis import given
from hypothesis import strategies as st

from vecsec_client.frameworks.values import in_parts, is_part, joined


@given(st.builds(lambda unit, count: unit * count, st.text(min_size=1, max_size=3), st.integers(0, 9000)))
def test_a_text_in_parts_is_joined_again(text: str) -> None:
    parts = in_parts("whole", text)
    assert joined("whole", {**parts, "whole.x": "another's", "other": 1}) == text
    assert max(len(part) for part in parts.values()) <= 4096
    assert all(is_part(name, "whole") for name in parts)


def test_what_is_no_part_is_left_alone() -> None:
    assert not [name for name in ("whole.", "whole.x", "wholes", "whol", "a.whole.1") if is_part(name, "whole")]
    assert joined("whole", {"whole.1": "x"}) is None
