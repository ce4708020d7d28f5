"""What is decided here of a condition is what the services decide."""

from dataclasses import asdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vecsec_client import AllOf, AnyOf, Equals, Exists, MetadataFilter, Not, Range, TextContains
from vecsec_client.frameworks.conditions import holds, one_of
from vecsec_retrieval.model import filters as services

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([-0.5, 0.0, 1.0, 2.5]))
scalars = st.one_of(numbers, st.booleans(), st.sampled_from(["", "a", "1"]))
keys = st.sampled_from(["x", "y"])
bounds = st.one_of(st.none(), numbers.map(float))
leaves = st.one_of(
    st.builds(Equals, keys, scalars),
    st.builds(one_of, keys, st.just("in"), st.lists(scalars, min_size=1, max_size=4)),
    st.builds(Range, keys, bounds, bounds, bounds, bounds),
    st.builds(Exists, st.sampled_from(["x", "y", "z"])),
    st.builds(TextContains, st.sampled_from(["a", "ab", "B"])),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda kind, parts: kind(tuple(parts)),
            st.sampled_from([AllOf, AnyOf]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)
rows = st.dictionaries(keys, scalars)


def as_the_services_have_it(condition: MetadataFilter) -> Any:
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return getattr(services, type(condition).__name__)(tuple(map(as_the_services_have_it, parts)))
        case Not(inner):
            return services.Not(as_the_services_have_it(inner))
    return getattr(services, type(condition).__name__)(**asdict(condition))


@given(conditions, st.lists(rows, max_size=5))
def test_a_condition_holds_where_the_services_say_so(condition: MetadataFilter, some: list[dict[str, Any]]) -> None:
    theirs = as_the_services_have_it(condition)
    services.refuse_oversized(theirs)
    decided = services.predicate(theirs)
    assert [holds(condition, row, "a b ab") for row in some] == [decided(row, lambda: "a b ab") for row in some]
