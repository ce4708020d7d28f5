"""Whether a label fits the schema is settled by its shape only where that is Cedar's word on every label of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes
from vecsec_policy.cedar.engine import CedarEngine
from vecsec_policy.cedar.label_shapes import LabelShapes
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

TYPES = (
    "String",
    "Long",
    "Bool",
    "Set<String>",
    "Set<Long>",
    "Set<decimal>",
    "decimal",
    "datetime",
    "duration",
    "ipaddr",
    "Role",
    "Level",
    "{text: String}",
)
NAMES = tuple(f"attribute_{number}" for number in range(len(TYPES)))

texts = st.text(max_size=6) | st.sampled_from(
    [
        "1.5",
        "2024-10-15",
        "2024-10-15T11:35:00Z",
        "1d2h",
        "10.0.0.1",
        "::/0",
        "high",
        'Role::"guest"',
        "\ud800",
        "\N{REPLACEMENT CHARACTER}",
        '{"__entity": {"type": "Role", "id": "guest"}}',
    ]
)
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1]),
    st.frozensets(texts, max_size=3),
)
labels = st.builds(
    Label,
    texts,
    st.none() | st.sampled_from(Sensitivity),
    st.frozensets(texts, max_size=2),
    st.dictionaries(st.sampled_from([*NAMES, "not declared"]), values, max_size=3).map(canonical_attributes),
)


@pytest.fixture(scope="module", params=["as packaged", "with other types for a label's own parts"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CedarEngine:
    """Compiled with a schema that declares an attribute of each type."""
    folder = tmp_path_factory.mktemp("policy")
    for name in ("roles.yaml", "tenants.yaml"):
        (folder / name).write_text((PACKAGED_POLICY / name).read_text())
    (folder / "access.cedar").write_text('@id("all") permit (principal, action, resource);')
    schema = (PACKAGED_POLICY / "schema.cedarschema").read_text()
    declared = "".join(f"{name}?: {type_name}, " for name, type_name in zip(NAMES, TYPES, strict=True))
    extended = schema.replace("region?: String,", f"region?: String, {declared}")
    if request.param != "as packaged":
        document = extended.index("entity Document")
        extended = extended[:document] + extended[document:].replace("topics?: Set<String>", "topics?: Set<ipaddr>")
    assert extended.count("attribute_") == len(TYPES)
    (folder / "schema.cedarschema").write_text(extended + '\nentity Level enum ["high", "low"];\n')
    return load_snapshot(folder).engine


@settings(max_examples=150)
@given(st.lists(labels, min_size=1, max_size=6))
def test_a_label_fits_where_cedar_says_so(engine: CedarEngine, several: list[Label]) -> None:
    shapes = LabelShapes(engine.accepts)
    assert [shapes.fits(label) for label in several] == [engine.accepts(label) for label in several]


@pytest.mark.parametrize("number", range(len(TYPES)))
@settings(max_examples=25)
@given(several=st.lists(values, min_size=2, max_size=6))
def test_values_of_one_type_do_not_vouch_for_each_other(
    engine: CedarEngine, number: int, several: list[str | int | bool | frozenset[str]]
) -> None:
    shapes = LabelShapes(engine.accepts)
    for value in several:
        label = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), ((NAMES[number], value),))
        assert shapes.fits(label) == engine.accepts(label)


def test_cedar_is_asked_once_for_labels_of_one_shape() -> None:
    asked: list[Label] = []

    def accepts(label: Label) -> bool:
        asked.append(label)
        return True

    shapes = LabelShapes(accepts)
    for number in range(10):
        assert shapes.fits(Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), (("owner", f"user-{number}"),)))
    assert len(asked) == 1
    shapes.fits(Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), (("owner", 1),)))
    assert len(asked) == 2, "a number is another kind of value"
