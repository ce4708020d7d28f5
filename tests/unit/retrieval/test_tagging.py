"""Rows say whose they are; those that do not, or not rightly, are no documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import document, label

from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes
from vecsec_retrieval.model.rows import MetadataValue, StoredRow
from vecsec_retrieval.visibility.tagging import LABEL_JSON_KEY, LABEL_KEY, TENANT_KEY, from_stored, to_stored

TEXTS = st.text(min_size=1, max_size=8)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["owner", "region", "embargo_until"]),
    st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.frozensets(TEXTS, min_size=1)),
)
LABELS = st.builds(
    lambda sensitivity, topics, attributes: Label("tenant_a", sensitivity, topics, canonical_attributes(attributes)),
    st.sampled_from(Sensitivity),
    st.frozensets(TEXTS, min_size=1),
    ATTRIBUTES,
)
METADATA = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False), st.booleans()))


@given(LABELS, METADATA)
def test_a_document_is_read_back_from_its_row(of: Label, metadata: dict[str, MetadataValue]) -> None:
    read = from_stored(to_stored(document("one", of=of, metadata=metadata)), "tenant_a")
    assert read is not None
    assert read.label == of
    assert dict(read.metadata) == metadata


@pytest.mark.parametrize("key", [TENANT_KEY, LABEL_KEY, LABEL_JSON_KEY, "m.x", "chroma:document", "$or"])
def test_no_key_of_a_caller_reaches_a_reserved_one(key: str) -> None:
    row = to_stored(document("one", metadata={key: "spoofed"}))
    read = from_stored(row, "tenant_a")
    assert read is not None
    assert read.label == label()
    assert dict(read.metadata) == {key: "spoofed"}
    assert row.metadata[TENANT_KEY] == "tenant_a"


def tampered(**changes: object) -> StoredRow:
    row = to_stored(document("one"))
    names = {"tenant": TENANT_KEY, "key": LABEL_KEY, "json": LABEL_JSON_KEY}
    metadata = {**row.metadata, **{names[name]: value for name, value in changes.items()}}
    return StoredRow("one", "text", {key: value for key, value in metadata.items() if value is not None})  # type: ignore[arg-type]


SECRET_JSON = label(Sensitivity.SECRET).to_json()
OTHER = label(tenant_id="tenant_b")
HALF = Label("tenant_a", None, frozenset({"a"}))
NO_TOPICS = Label("tenant_a", Sensitivity.PUBLIC, frozenset())


@pytest.mark.parametrize(
    "row",
    [
        StoredRow("one", "text", {}),
        tampered(tenant=None),
        tampered(key=None),
        tampered(json=None),
        tampered(tenant="tenant_b"),
        tampered(json=SECRET_JSON),
        tampered(key="0" * 32),
        tampered(json="not json"),
        tampered(json="[]"),
        tampered(json='{"tenant_id": 7}'),
        tampered(json=17),
        tampered(tenant="tenant_b", key=OTHER.key, json=OTHER.to_json()),
        tampered(key=OTHER.key, json=OTHER.to_json()),
        tampered(key=HALF.key, json=HALF.to_json()),
        tampered(key=NO_TOPICS.key, json=NO_TOPICS.to_json()),
    ],
)
def test_a_row_without_whole_and_true_tags_is_no_document(row: StoredRow) -> None:
    assert from_stored(row, "tenant_a") is None


def test_a_row_of_another_tenant_is_no_document_here() -> None:
    row = to_stored(document("one", of=OTHER))
    assert from_stored(row, "tenant_a") is None
    assert from_stored(row, "tenant_b") is not None


def test_keys_of_the_row_that_is_replaced_are_removed() -> None:
    row = to_stored(document("one", metadata={"kept": 1}), stale_metadata_keys={"old"})
    assert row.metadata["m.old"] is None
    assert row.metadata["m.kept"] == 1
