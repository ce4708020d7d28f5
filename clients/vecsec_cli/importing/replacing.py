"""A collection, for rows that are imported again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vecsec_cli.importing.records import BadRecord, SourceRecord
from vecsec_client import Document, VecSecClient

_IDS_A_CALL = 500
"""Passages are short: so many fit into an answer with their texts."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Where documents are."""

    client: VecSecClient
    tenant: str
    collection: str

    def passages_of(self, row: str, ids: Sequence[str]) -> list[str]:
        """Those that an import of this row stored, by their metadata; a row of such an id may be another's."""
        return [each.document_id for each in self.documents(ids) if each.metadata.get("part_of") == row]

    def documents(self, ids: Sequence[str]) -> Iterator[Document]:
        """Those of these that are there."""
        for some in _calls(ids):
            yield from self.client.get_documents(some, tenant=self.tenant, collection=self.collection).documents

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; says how many.

        Raises:
            PermissionDenied: if this caller may not; some may be gone then.
        """
        return sum(
            self.client.delete_documents(some, tenant=self.tenant, collection=self.collection).deleted_count
            for some in _calls(ids)
        )


def held_back(passage: SourceRecord, row: str, left: int) -> BadRecord:
    """What is said of a row that is left out because so much of its surplus has to stay."""
    reason = (
        f"left as it was: {left} passages of an earlier import, which it has no more, "
        "cannot be deleted with this token; import it with one of a role that may delete"
    )
    return BadRecord(line=passage.line, place=passage.place, document_id=row, field="", reason=reason)


def _calls(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_A_CALL] for start in range(0, len(ids), _IDS_A_CALL)]
