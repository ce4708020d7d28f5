"""What filters mean, said once more and otherwise: true, false, or None where a key is compared that is not there."""

from collections.abc import Mapping

from hypothesis import strategies as st

from vecsec_retrieval.model.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    Range,
    TextContains,
)
from vecsec_retrieval.model.rows import MetadataValue

KEYS = st.sampled_from(["x", "y"])
METADATA = st.dictionaries(KEYS, st.sampled_from([1, 2, 2.5, "1", True]))
LEAVES: st.SearchStrategy[MetadataFilter] = st.one_of(
    st.builds(Equals, KEYS, st.sampled_from([1, 2.5, "1", True])),
    st.builds(In, KEYS, st.sampled_from([(1, 2.5), ("1",), (True, False)])),
    st.builds(Range, KEYS, at_least=st.sampled_from([None, 1.5]), less_than=st.just(2.5)),
    st.builds(Exists, st.sampled_from(["x", "y", "z"])),
    st.builds(TextContains, st.sampled_from(["a", "b", "ab", "passage 1"])),
)
FILTERS: st.SearchStrategy[MetadataFilter] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=5,
)


def truth(condition: MetadataFilter, metadata: Mapping[str, MetadataValue], text: str) -> bool | None:
    """Kleene's logic: what is not known stays so unless the rest decides."""
    match condition:
        case AllOf(parts):
            found = _all([truth(part, metadata, text) for part in parts])
        case AnyOf(parts):
            found = _negated(_all([_negated(truth(part, metadata, text)) for part in parts]))
        case Not(inner):
            found = _negated(truth(inner, metadata, text))
        case Exists(key):
            found = key in metadata
        case TextContains(wanted):
            found = text.find(wanted) != -1
        case Equals(key, _) | In(key, _) | Range(key):
            found = _compared(condition, metadata[key]) if key in metadata else None
    return found


def _compared(condition: Equals | In | Range, value: MetadataValue) -> bool:
    if isinstance(condition, Equals | In):
        wanted = (condition.value,) if isinstance(condition, Equals) else condition.values
        return any(_same(value, each) for each in wanted)
    if type(value) not in {int, float}:
        return False
    low, above = condition.at_least, condition.more_than
    high, below = condition.at_most, condition.less_than
    lower = (low is None or low <= float(value)) and (above is None or above < float(value))
    return lower and (high is None or float(value) <= high) and (below is None or float(value) < below)


def _same(left: MetadataValue, right: MetadataValue) -> bool:
    numbers = {int, float}
    return left == right and (type(left) is type(right) or {type(left), type(right)} <= numbers)


def _all(parts: list[bool | None]) -> bool | None:
    if False in parts:
        return False
    return None if None in parts else True


def _negated(part: bool | None) -> bool | None:
    return None if part is None else not part
