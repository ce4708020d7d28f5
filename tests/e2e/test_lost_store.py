"""`vecsec up` misses a store that was there, at CHROMA_PATH on a disk of its own or in the state directory."""

import json
import shutil
from pathlib import Path

import pytest
from support.installation import Installation, running_installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROW = {"id": "plan", "text": "the spring plan", "sensitivity": "INTERNAL", "topics": ["rag"]}


def found(installation: Installation) -> list[str]:
    answer = installation.search(installation.token("tenant_a"), "tenant_a", "plan")
    return [each["document_id"] for each in answer["results"] if each["provenance"] == "PROVENANCE_REAL"]


def refused(folder: Path, **settings: str) -> str:
    with pytest.raises(AssertionError) as raised, running_installation(folder, **settings):
        """It must not come so far."""
    assert "vecsec up ended with 2" in str(raised.value)
    return str(raised.value)


def test_a_store_that_is_not_mounted_is_no_first_start(tmp_path: Path) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "up"
    disk.mkdir()
    with running_installation(folder, CHROMA_PATH=str(disk)) as installation:
        installation.import_rows("tenant_a", [ROW])
        assert found(installation) == ["plan"]
    disk.rename(tmp_path / "elsewhere")
    disk.mkdir()
    assert f"CHROMA_PATH: {disk} holds no store; if there was one, mount it" in refused(folder, CHROMA_PATH=str(disk))
    assert list(disk.iterdir()) == []
    with running_installation(tmp_path / "other", CHROMA_PATH=str(disk)):
        """Another installation begins a store of its own there."""
    assert "holds another store" in refused(folder, CHROMA_PATH=str(disk))
    shutil.rmtree(disk)
    (tmp_path / "elsewhere").rename(disk)
    with running_installation(folder, CHROMA_PATH=str(disk)) as installation:
        assert found(installation) == ["plan"]
    known = json.loads((folder / "state" / "stores.json").read_text())
    assert list(known) == [str(disk)]
