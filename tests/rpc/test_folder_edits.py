"""THREAT 26: a folder is edited at random and imported again and again, with readers beside: none finds half a file,
and after each import all that is found is what the folder says."""

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stack import Stack, running_stack

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.records import Passage
from vecsec_cli.importing.targets import ImportTarget
from vecsec_cli.importing.trees.carrying_out import import_files
from vecsec_cli.importing.trees.file_versions import FileVersion
from vecsec_cli.importing.trees.pruning import Prune
from vecsec_client import VecSecClient

pytestmark = pytest.mark.timeout(900)

EDITS = int(os.environ.get("VECSEC_FOLDER_EDITS", "50"))
FILES = 8
TARGET = ImportTarget("tenant_a", "documents", "", 6, strict=False)
"""Batches of fewer passages than files have."""
SENSITIVITIES = ("PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET")


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path / "stack") as running:
        yield running


class Folder:
    """The folder, and what must be found of it."""

    def __init__(self, root: Path, chance: random.Random, client: VecSecClient) -> None:
        root.mkdir()
        self.root = root
        self._chance = chance
        self._client = client
        self._stored: dict[str, tuple[str, str]] = {}
        """Text and sensitivity of each file in the store."""
        for number in range(FILES):
            self._write(root / f"{number}.md")

    def edit(self) -> str:
        """Do something; its name."""
        files = sorted(self.root.glob("*.md"))
        kinds = ["rewrite", "rename", "delete", "add", "relabel"] if len(files) > 2 else ["add"]
        kind = self._chance.choice(kinds)
        file = self._chance.choice(files)
        if kind == "rename":
            file.rename(self.root / f"{self._chance.randrange(10**6)}.md")
        elif kind == "delete":
            file.unlink()
        elif kind == "relabel":
            self._relabel(file)
        else:
            self._write(file if kind == "rewrite" else self.root / f"{self._chance.randrange(10**6)}.md")
        return kind

    def bring_in(self) -> None:
        """Import it, and have what is gone removed."""
        import_files(self._client, self.source, TARGET, again=False, prune=Prune.ALL_GONE)
        present = {file.name: file.read_text() for file in self.root.glob("*.md")}
        self._stored = {name: self._label_of(name, text) for name, text in present.items()}

    def _label_of(self, name: str, text: str) -> tuple[str, str]:
        """What the store has of a file, now that it was imported: what it had, its own, or the higher one."""
        stored, sensitivity = self._stored.get(name, ("", "INTERNAL"))
        if stored != text:
            own = text.split()[2] if text.startswith("---") else ""
            sensitivity = own or max(sensitivity, "INTERNAL", key=SENSITIVITIES.index)
        return text, sensitivity

    @property
    def source(self) -> FileTreeSource:
        return FileTreeSource(self.root, Defaults("INTERNAL", ("marketing",)))

    def expected(self) -> dict[str, tuple[str, str, str]]:
        """Text, sensitivity and version by the passages' ids."""
        found = {}
        for record in self.source.records():
            assert isinstance(record, Passage)
            document = record.document
            assert document.source is not None
            version = document.source.version
            _, label = self._stored[record.origin]
            found[document.document_id] = (document.text, label, version)
        return found

    def _write(self, file: Path) -> None:
        chance = self._chance
        matter = f"---\nsensitivity: {chance.choice(SENSITIVITIES)}\n---\n" if chance.random() < 0.4 else ""
        paragraphs = (f"Word {chance.randrange(10**6)}. " + "More of it. " * 120 for _ in range(chance.randint(1, 9)))
        file.write_text(matter + "\n\n".join(paragraphs))

    def _relabel(self, file: Path) -> None:
        sensitivity = self._chance.choice(SENSITIVITIES)
        self._client.relabel_source(file.name, sensitivity=sensitivity)
        self._stored[file.name] = self._stored[file.name][0], sensitivity


async def found(stack: Stack) -> dict[str, tuple[str, str, str]]:
    """All that an administrator finds, of whom nothing is hidden; no source of it may be half there."""
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "reader")
    rows = [each.document for each in (await stack.search(token, "tenant_a", "word", k=1_000)).results]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        counts[row.source.source_id][row.source.version] += 1
    for source_id, of_version in counts.items():
        ((version, count),) = of_version.items()
        whole = FileVersion.parse(version)
        assert whole is not None
        assert count == whole.passages, (source_id, version, count)
    sensitivities = dict(enumerate(("", *SENSITIVITIES)))
    return {row.document_id: (row.text, sensitivities[row.label.sensitivity], row.source.version) for row in rows}


async def test_threat_26_random_edits_of_a_folder_with_readers_beside(stack: Stack, tmp_path: Path) -> None:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "writer")
    address = f"127.0.0.1:{stack.gateway_service.port}"
    is_over = asyncio.Event()
    looks = 0

    async def read() -> None:
        nonlocal looks
        while not is_over.is_set():
            await found(stack)
            looks += 1
            await asyncio.sleep(0.01)

    with VecSecClient(address, token=token, default_tenant="tenant_a") as client:
        folder = Folder(tmp_path / "folder", random.Random(26), client)
        await asyncio.to_thread(folder.bring_in)
        reader = asyncio.create_task(read())
        for number in range(EDITS):
            kind = await asyncio.to_thread(folder.edit)
            await asyncio.to_thread(folder.bring_in)
            assert await found(stack) == folder.expected(), (number, kind)
            assert not reader.done(), reader.result()
        is_over.set()
        await reader
    assert looks > EDITS
