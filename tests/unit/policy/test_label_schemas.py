"""What rows may carry is read from the schema as Cedar reads it; what the walls would read differently is refused."""

import json
import re
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema
from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes
from vecsec_policy.cedar.engine import CedarEngine
from vecsec_policy.cedar.entities import document_entity
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

TYPES = {"String": "text", "Long": "number", "Bool": "is_open", "Set<String>": "texts", "Name": "named"}

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
    st.dictionaries(st.sampled_from([*TYPES.values(), "not_declared"]), values, max_size=3).map(canonical_attributes),
)


def declaring(folder: Path, more: str, after: str = "") -> Path:
    """The packaged schema with more declared of rows, and behind it."""
    schema = folder / "schema.cedarschema"
    text = schema.read_text().replace("  region?: String,\n", f"  region?: String,\n{more}\n")
    schema.write_text(f"{text}{after}\n")
    return schema


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> CedarEngine:
    """Compiled with a schema that declares an attribute of each type that rows can have."""
    folder = tmp_path_factory.mktemp("policy")
    for name in ("roles.yaml", "tenants.yaml", "schema.cedarschema"):
        (folder / name).write_text((PACKAGED_POLICY / name).read_text())
    (folder / "access.cedar").write_text('@id("all") permit (principal, action, resource);')
    declared = "".join(f"  {name}?: {type_name}, // said {{?: once}}\n" for type_name, name in TYPES.items())
    declaring(folder, declared, "type Name = String;")
    return load_snapshot(folder).engine


@settings(max_examples=400)
@given(label=labels)
def test_a_label_fits_where_cedar_says_so(engine: CedarEngine, label: Label) -> None:
    try:
        cedarpy.Entities.from_json_str(json.dumps([document_entity(0, label)]), engine.checked.schema_text)
    except ValueError:
        assert not engine.accepts(label)
    else:
        assert engine.accepts(label)


def test_a_schema_is_read_whatever_stands_around_its_attributes(folder: Path) -> None:
    more = """
  @doc("not a: type, nor }") "quoted"?: Set < String >,
  open?:Bool,level?:Short // , last?: decimal
  """
    declaring(folder, more, "type Short = Long; entity Other = {when?: {a: Long}, Document?: String};")
    assert dict(load_snapshot(folder).engine.checked.label_schema.declared) == {
        "level": AttributeType.LONG,
        "open": AttributeType.BOOL,
        "owner": AttributeType.STRING,
        "quoted": AttributeType.TEXTS,
        "readers": AttributeType.TEXTS,
        "region": AttributeType.STRING,
    }


def test_a_schema_travels_by_its_names(engine: CedarEngine) -> None:
    schema = engine.checked.label_schema
    assert LabelSchema.from_names(json.loads(json.dumps(schema.to_names()))) == schema


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        (
            "price?: decimal,",
            "the type decimal is read differently by retrieval and by the check; declare it as String",
        ),
        ("address?: ipaddr,", "the type ipaddr is read differently"),
        (
            "day?: datetime,",
            "the type datetime is read differently by retrieval and by the check; declare it as String,",
        ),
        ("life?: __cedar::duration,", "the type duration is read differently"),
        ("prices?: Set<decimal>,", "the type decimal is read differently"),
        ("part?: {price: decimal},", "the type decimal is read differently"),
        ("part?: {text: String},", "Document.part has a type that no label has; declare it as String, Long, Bool or"),
        ("levels?: Set<Long>,", "Document.levels has a type that no label has"),
        ("holder?: Role,", "Document.holder has a type that no label has"),
        ("level?: Level,", "Document.level has a type that no label has"),
        ("team: String,", "Document.team is required, and rows without it would be for nobody; write `team?:`"),
        ("Team?: String,", "no row can carry an attribute called 'Team'"),
        ('"a b"?: String,', "no row can carry an attribute called 'a b'"),
        ("".join(f"a{number}?: Long, " for number in range(62)), "Document has 65 attributes of its own; 64 are the"),
    ],
)
def test_what_the_walls_would_read_differently_is_refused_with_its_line(
    folder: Path, declared: str, complaint: str
) -> None:
    schema = declaring(folder, declared, 'entity Level enum ["high", "low"];')
    line = schema.read_text()[: schema.read_text().index(declared)].count("\n") + 1
    if "attributes of its own" in complaint:
        line = schema.read_text()[: schema.read_text().index("entity Document")].count("\n") + 1
    with pytest.raises(ConfigurationError) as refusal:
        load_snapshot(folder)
    assert str(refusal.value).startswith(f"{schema}:{line}: {complaint}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (
            "topics?: Set<String>,\n  // Who alone",
            "// Who alone",
            "Document lacks topics, so no row would fit; add `topics?: Set",
        ),
        (
            "sensitivity?: Long",
            "sensitivity?: String",
            "Document.sensitivity has a type that no label has; declare it as Long",
        ),
        ("tenant_id?: String", "tenant_id: String", "Document.tenant_id is required"),
        (
            "context: { target: Tenant, today: Long }",
            "context: { target: Tenant, now: datetime }",
            "the type datetime is",
        ),
    ],
)
def test_rows_stay_as_they_are_made(folder: Path, before: str, after: str, complaint: str) -> None:
    schema = folder / "schema.cedarschema"
    text = schema.read_text()
    assert before in text
    schema.write_text(text.replace(before, after))
    with pytest.raises(ConfigurationError, match=rf"schema.cedarschema:\d+: {re.escape(complaint)}"):
        load_snapshot(folder)
