"""An existing ChromaDB collection, read through a process of its own."""

from pathlib import Path

import chromadb
import pytest

from vecsec_cli.importing.chroma_collection import ChromaAddress, ChromaSource
from vecsec_cli.importing.csv_table import Columns
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.records import BadRecord, Passage, SourceError
from vecsec_client import Sensitivity

DEFAULTS = Defaults(Sensitivity.INTERNAL, ("rag",))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    collection = chromadb.PersistentClient(str(folder)).create_collection("notes", embedding_function=None)
    collection.add(
        ids=["a", "b", "c"],
        documents=["first", "second", None],  # type: ignore[list-item]
        metadatas=[{"level": "SECRET", "about": "rag,retrieval", "year": 2024}, {"year": 2025}, {"year": 2026}],
        embeddings=[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
    )
    return folder


def source(folder: Path, name: str = "notes", *, keep_embeddings: bool = False) -> ChromaSource:
    columns = Columns(sensitivity="level", topics="about")
    return ChromaSource(ChromaAddress(str(folder), name, False), columns, DEFAULTS, keep_embeddings)


def test_rows_become_documents_and_rows_without_text_are_named(database: Path) -> None:
    records = list(source(database, keep_embeddings=True).records())
    first, second = (record.document for record in records if isinstance(record, Passage))
    assert (first.document_id, first.text, first.sensitivity) == ("a", "first", Sensitivity.SECRET)
    assert (first.topics, first.metadata, first.embedding) == (("rag", "retrieval"), {"year": 2024}, (1.0, 0.0))
    assert (second.sensitivity, second.topics) == (Sensitivity.INTERNAL, ("rag",))
    (bad,) = (record for record in records if isinstance(record, BadRecord))
    assert (bad.document_id, bad.field) == ("c", "text")


def test_a_key_that_is_nearly_the_labels_is_not_taken_for_metadata(database: Path) -> None:
    address = ChromaAddress(str(database), "notes", False)
    bad, good, _ = ChromaSource(address, Columns(sensitivity="Level", topics="about"), DEFAULTS, False).records()
    assert isinstance(bad, BadRecord)
    assert (bad.document_id, bad.field) == ("a", "metadata.level")
    assert "would become metadata, not a label" in bad.reason
    assert isinstance(good, Passage)


def test_texts_are_embedded_anew_unless_asked_otherwise(database: Path) -> None:
    passages = [record for record in source(database).records() if isinstance(record, Passage)]
    assert [passage.document.embedding for passage in passages] == [(), ()]


def test_the_fingerprint_is_of_the_content_though_reading_touches_the_files(tmp_path: Path) -> None:
    collection = chromadb.PersistentClient(str(tmp_path)).create_collection("notes", embedding_function=None)
    collection.add(ids=["a", "b"], documents=["first", "second"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
    before = source(tmp_path).summarise()
    assert before.expected == 2
    assert source(tmp_path).summarise() == before
    collection.update(ids=["b"], documents=["other"], embeddings=[[0.0, 1.0]])
    assert source(tmp_path).summarise() != before


def test_what_cannot_be_read_is_one_clear_line(database: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing"):
        list(source(database, "nothing").records())
    with pytest.raises(SourceError, match="cannot read"):
        source(tmp_path).summarise()
