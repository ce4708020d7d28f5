"""A tenant's archive: its files are in its folder, whatever the manifest or a service says."""

import json
from pathlib import Path

import pytest

from vecsec_cli.tenants.archive import MANIFEST, Archive, writing_archive
from vecsec_cli.terminal.failures import CommandFailure

LEADING_OUT = ["../outside", "/etc/passwd", "a/b", "..", ".", "", "a.b", None]


@pytest.mark.parametrize("collection_id", LEADING_OUT)
def test_no_manifest_leads_out_of_the_folder(tmp_path: Path, collection_id: object) -> None:
    collection = {"collection_id": collection_id, "embedding_model": "", "document_count": 1}
    (tmp_path / MANIFEST).write_text(json.dumps({"tenant_id": "tenant_a", "collections": [collection]}))
    archive = Archive.read(tmp_path)
    with pytest.raises(CommandFailure, match="no collection's id"):
        archive.file(archive.collections[0])


@pytest.mark.parametrize("collection_id", ["../outside", "/tmp/outside", "a/b"])
def test_no_service_makes_an_export_write_elsewhere(tmp_path: Path, collection_id: str) -> None:
    with writing_archive(tmp_path / "new", "tenant_a") as writer, pytest.raises(CommandFailure):
        writer.add(collection_id, "model", {"id": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with writing_archive(tmp_path / "new", "tenant_a") as writer:
        writer.add("my-notes_2", "model", {"id": "a"})
        writer.finish()
    archive = Archive.read(tmp_path / "new")
    assert archive.document_count == 1
    assert json.loads(archive.file(archive.collections[0]).read_text()) == {"id": "a"}
