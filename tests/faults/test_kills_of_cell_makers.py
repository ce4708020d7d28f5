"""A process is killed at any moment while it makes cells: the list of cells loses none, and names none that is not."""

import json
import random
import time
from contextlib import closing
from pathlib import Path

import pytest
from faults.children import child
from faults.conftest import Note
from faults.extent import MANY
from support.waiting import PATIENCE_SECONDS

from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder.store_identity import IDENTITY_FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 100 if MANY else 12


def until_there_is_a_new_folder(path: Path) -> None:
    """Between that and its place on the list there are some milliseconds."""
    before, deadline = folders(path), time.monotonic() + PATIENCE_SECONDS
    while folders(path) == before and time.monotonic() < deadline:
        """The very next moment counts."""


def folders(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}


def test_the_list_is_what_was_acknowledged(tmp_path: Path, note: Note) -> None:
    path, moments = tmp_path / "chroma", random.Random(7)
    acknowledged, in_between = set[str](), set[str]()
    for kill in range(KILLS):
        with child("faults.cell_maker", path, kill * 100, folder=tmp_path / f"maker-{kill}") as maker:
            maker.wait_for("made", 1 + kill % 3)
            if kill % 2:
                time.sleep(moments.random() * 0.1)  # any moment of the next one
            else:
                until_there_is_a_new_folder(path)
            maker.kill()
            acknowledged |= {words[1] for words in maker.lines("made")}
        listed = set(json.loads((path / IDENTITY_FILE).read_text())["cells"])
        there = folders(path)
        assert acknowledged <= listed <= there
        in_between |= there - listed
    assert in_between
    with closing(EmbeddedCellStore(path, may_be_new=False)) as store:
        for tenant_id in there:
            cell = store.open(tenant_id, create=False)
            assert cell is not None
            cell.close()
    assert set(json.loads((path / IDENTITY_FILE).read_text())["cells"]) == there
    note("cells made", f"{KILLS} kills", f"{len(acknowledged)} acknowledged, {len(in_between)} made and not yet listed")
