"""The demonstration's corpora: large enough, spread by the visible rule, and importable to the last document."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import yaml

from vecsec_cli.demo.corpus import StandardLibraryCorpus, StandardLibrarySource, hand_written_source
from vecsec_cli.demo.definitions import Definition, DefinitionKind, standard_library
from vecsec_cli.demo.loading import HAND_WRITTEN_TENANTS
from vecsec_cli.demo.spread import SPREAD, TENANTS, placement, sensitivity
from vecsec_cli.importing.import_run import without_repeated_ids
from vecsec_cli.importing.records import Passage, Source
from vecsec_cli.local import installation
from vecsec_client import DocumentInput, Sensitivity


def documents(source: Source) -> list[DocumentInput]:
    records = list(without_repeated_ids(source.records()))
    assert [record for record in records if not isinstance(record, Passage)] == []
    return [record.document for record in records if isinstance(record, Passage)]


@pytest.fixture(scope="module")
def library() -> dict[str, list[DocumentInput]]:
    corpus = StandardLibraryCorpus()
    asyncio.run(corpus.read())
    return {tenant_id: documents(StandardLibrarySource(tenant_id, corpus)) for tenant_id in TENANTS}


def scopes() -> dict[str, set[str]]:
    tenants = yaml.safe_load((installation.packaged_policy() / "tenants.yaml").read_text())["tenants"]
    return {tenant_id: set(tenant["topics"]) for tenant_id, tenant in tenants.items()}


def test_the_standard_library_is_well_over_5000_documents(library: dict[str, list[DocumentInput]]) -> None:
    assert sum(len(each) for each in library.values()) > 5500


def test_every_tenant_has_a_hundred_documents_of_every_sensitivity(
    library: dict[str, list[DocumentInput]],
) -> None:
    counts = Counter((tenant_id, document.sensitivity) for tenant_id, each in library.items() for document in each)
    assert {key: count for key, count in counts.items() if count <= 100} == {}
    assert len(counts) == len(TENANTS) * len(Sensitivity)


def test_a_document_says_where_it_comes_from(library: dict[str, list[DocumentInput]]) -> None:
    (document,) = (each for each in library["python_data"] if each.document_id == "json.decoder.JSONDecoder.decode")
    assert document.text.startswith("json.decoder.JSONDecoder.decode(self, s, ")
    assert "Return the Python representation of" in document.text
    assert document.metadata["module"] == "json.decoder"
    assert document.metadata["kind"] == "method"
    assert document.metadata["line"]
    assert (document.sensitivity, document.topics) == (Sensitivity.INTERNAL, ("formats",))


@pytest.mark.parametrize("tenant_id", HAND_WRITTEN_TENANTS)
def test_hand_written_sets_have_all_sensitivities_and_topics_inside_and_outside_the_scope(tenant_id: str) -> None:
    found = documents(hand_written_source(tenant_id))
    assert 12 <= len(found) <= 16
    assert {document.sensitivity for document in found} == set(Sensitivity)
    assert scopes()[tenant_id] < {topic for document in found for topic in document.topics}
    outside = [document for document in found if not set(document.topics) <= scopes()[tenant_id]]
    assert 1 <= len(outside) <= 3


def test_both_hand_written_tenants_use_the_same_ids_for_different_texts() -> None:
    first, second = (
        {document.document_id: document.text for document in documents(hand_written_source(tenant_id))}
        for tenant_id in HAND_WRITTEN_TENANTS
    )
    shared = first.keys() & second.keys()
    assert {"brand-guidelines", "campaign-budget"} <= shared
    assert all(first[document_id] != second[document_id] for document_id in shared)


def test_the_default_policy_knows_the_tenants_and_exactly_their_topics() -> None:
    used: dict[str, set[str]] = {tenant_id: set() for tenant_id in TENANTS}
    for place in (*SPREAD.values(), placement("unlisted")):
        used[place.tenant_id].update(place.topics)
    assert used == {tenant_id: scopes()[tenant_id] for tenant_id in TENANTS}


@pytest.mark.parametrize(
    ("module", "tenant_id"),
    [("json.decoder", "python_data"), ("http.client", "python_net"), ("textwrap", "python_core"), ("x", "python_core")],
)
def test_the_longest_listed_prefix_of_the_module_decides(module: str, tenant_id: str) -> None:
    assert placement(module).tenant_id == tenant_id


@pytest.mark.parametrize(
    ("name", "module", "kind", "expected"),
    [
        ("json", "json", DefinitionKind.MODULE, "PUBLIC"),
        ("json.JSONDecoder", "json", DefinitionKind.CLASS, "PUBLIC"),
        ("json.loads", "json", DefinitionKind.FUNCTION, "INTERNAL"),
        ("json.decoder._decode", "json.decoder", DefinitionKind.FUNCTION, "CONFIDENTIAL"),
        ("abc._Base.run", "abc", DefinitionKind.METHOD, "CONFIDENTIAL"),
        ("json.JSONDecoder.__init__", "json", DefinitionKind.METHOD, "SECRET"),
        ("_pydecimal.Decimal", "_pydecimal", DefinitionKind.CLASS, "SECRET"),
    ],
)
def test_kind_and_name_decide_the_sensitivity(name: str, module: str, kind: DefinitionKind, expected: str) -> None:
    assert sensitivity(Definition(name, module, kind, 1, "", "text")) == expected


def test_definitions_are_read_and_not_executed(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "foreign.py").write_text('"""Not of the library."""')
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "own.py").write_text(
        '"""A module."""\nraise SystemExit\n'
        "if True:\n    def f(a, *, b=1) -> int:\n        'Does f.'\n        def hidden(): 'no'\n"
        "else:\n    def f(): 'other'\n"
        "class C(Base):\n    'A class.'\n    async def m(self): 'Does m.'\n    def bare(self): pass\n"
    )
    found = {each.qualified_name: each for each in standard_library(tmp_path) if each.module == "own"}
    assert sorted(found) == ["own", "own.C", "own.C.m", "own.f"]
    assert found["own.f"] == Definition("own.f", "own", DefinitionKind.FUNCTION, 4, "(a, *, b=1) -> int", "Does f.")
    assert found["own.C"].signature == "(Base)"
    names = {each.module for each in standard_library(tmp_path)}
    assert "foreign" not in names
    assert "builtins" in names
