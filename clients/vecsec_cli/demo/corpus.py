"""What the demonstration imports: the standard library's documentation, and two small hand-written sets."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vecsec_cli.demo.definitions import Definition, standard_library, standard_library_folder
from vecsec_cli.demo.spread import SPREAD, TENANTS, placement, sensitivity
from vecsec_cli.importing.documents import Defaults, SourcePosition, record_of
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import SourceRecord, SourceSummary

_SHAPE = 1
"""Count this up when documents are made differently from definitions, so that they are imported again."""


class StandardLibraryCorpus:
    """The definitions of the standard library, read once and shared by the tenants' sources."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, list[Definition]] = {tenant_id: [] for tenant_id in TENANTS}
        self._is_read = False

    async def read(self) -> None:
        """Read them all, unless that was done; some seconds of work in small pieces."""
        if self._is_read:
            return
        for count, definition in enumerate(standard_library(standard_library_folder())):
            self._by_tenant[placement(definition.module).tenant_id].append(definition)
            if count % 50 == 0:
                await asyncio.sleep(0)
        self._is_read = True

    def of_tenant(self, tenant_id: str) -> Sequence[Definition]:
        """A tenant's share, once it is read."""
        return self._by_tenant[tenant_id]


@dataclass(frozen=True, slots=True)
class StandardLibrarySource:
    """One tenant's share of the documentation of this Python's standard library."""

    tenant_id: str
    corpus: StandardLibraryCorpus

    @property
    def name(self) -> str:
        """What the progress bar shows."""
        return self.tenant_id

    def summarise(self) -> SourceSummary:
        """Another Python, or another rule, is another corpus; nothing is read for the fingerprint."""
        content = repr((_SHAPE, sys.version, str(standard_library_folder()), sorted(SPREAD.items())))
        fingerprint = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        return SourceSummary(fingerprint, len(self.corpus.of_tenant(self.tenant_id)) or None)

    def records(self) -> Iterator[SourceRecord]:
        """One document a definition."""
        for number, definition in enumerate(self.corpus.of_tenant(self.tenant_id), start=1):
            place = SourcePosition(f"{definition.module}:{definition.line}", number)
            yield record_of(document_fields(definition), place, Defaults())


def hand_written_source(tenant_id: str) -> JsonLinesSource:
    """A few passages that make the rules easy to see."""
    return JsonLinesSource(Path(__file__).with_name(f"{tenant_id}.jsonl"), Defaults())


def document_fields(definition: Definition) -> dict[str, object]:
    """A definition as the fields of a document."""
    return {
        "id": definition.qualified_name,
        "text": f"{definition.qualified_name}{definition.signature}\n\n{definition.docstring}",
        "sensitivity": sensitivity(definition),
        "topics": list(placement(definition.module).topics),
        "metadata": {
            "module": definition.module,
            "kind": definition.kind.value,
            "line": definition.line,
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        },
    }
