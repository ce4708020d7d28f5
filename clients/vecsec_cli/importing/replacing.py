"""A folder that is imported again: passages that its files no longer have go first, and what stays is said.

First, so that an import that is cut off leaves too little to be found, never a passage that no file has any more. What
is to go is asked of the store each time, for a journal may be missing or lack what others did.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace

from vecsec_cli.importing.records import Passage
from vecsec_cli.importing.text_folder import TextFolderSource, file_of
from vecsec_cli.stored_ids import stored_ids
from vecsec_client import PermissionDenied, VecSecClient

_IDS_A_CALL = 500
"""Passages of folders are short: so many fit into an answer with their texts."""


@dataclass(frozen=True, slots=True)
class EarlierImport:
    """What earlier imports of files left in a collection."""

    passages: Mapping[str, int] = field(default_factory=dict)
    """How many passages of each file are there, as far as the caller may read them."""
    files: AbstractSet[str] = frozenset()
    """The files that the folder has now and that can be stored."""
    removed: int = 0
    """How many passages were surplus and are gone."""

    def staying(self, refused: Iterable[str]) -> dict[str, int]:
        """How many passages stay of each file that the folder has no more, or that was refused (these ids were)."""
        replaced = self.files - {file_of(each) for each in refused}
        return {file: count for file, count in sorted(self.passages.items()) if file not in replaced}


def remove_surplus(
    client: VecSecClient, source: TextFolderSource, *, tenant: str, collection: str
) -> tuple[TextFolderSource, EarlierImport]:
    """Delete the passages that the folder's files no longer have.

    The source that comes back holds those files back whose surplus this caller may not delete.

    Raises:
        SourceError: if the folder cannot be read.
        VecSecError: if a service refuses or fails; the collection may have lost some of its surplus then.
    """
    wanted = _wanted(source)
    stored = _stored(client, tenant, collection)
    surplus = _of_folders(client, _surplus(stored, wanted), tenant, collection)
    removed = 0
    if surplus:
        removed = _delete(client, surplus, tenant, collection)
        stored = _stored(client, tenant, collection)
        left = Counter(file_of(each) for each in set(surplus).intersection(_surplus(stored, wanted)))
        source = replace(source, held_back={file: count for file, count in left.items() if file is not None})
    counts = {file: len(there) for file, there in stored.items()}
    return source, EarlierImport(counts, wanted.keys() - source.held_back.keys(), removed)


def _wanted(source: TextFolderSource) -> dict[str, set[str]]:
    """The ids of each file that can be stored."""
    wanted: dict[str, set[str]] = {}
    for record in source.records():
        if isinstance(record, Passage):
            document_id = record.document.document_id
            wanted.setdefault(file_of(document_id) or document_id, set()).add(document_id)
    return wanted


def _stored(client: VecSecClient, tenant: str, collection: str) -> dict[str, list[str]]:
    """The ids that a collection has of each file that a folder of texts could have."""
    stored: dict[str, list[str]] = {}
    for document_id in stored_ids(client, tenant=tenant, collection=collection):
        file = file_of(document_id)
        if file is not None:
            stored.setdefault(file, []).append(document_id)
    return stored


def _surplus(stored: Mapping[str, Sequence[str]], wanted: Mapping[str, AbstractSet[str]]) -> list[str]:
    """The ids that files have in the collection and not in the folder; of refused files none, for they stay whole."""
    return [each for file, ids in wanted.items() for each in stored.get(file, ()) if each not in ids]


def _of_folders(client: VecSecClient, ids: Sequence[str], tenant: str, collection: str) -> list[str]:
    """Those that an import of a folder stored, by the path in their metadata; a row of such an id may be another's."""
    return [
        document.document_id
        for some in _calls(ids)
        for document in client.get_documents(some, tenant=tenant, collection=collection).documents
        if document.metadata.get("path") == file_of(document.document_id)
    ]


def _delete(client: VecSecClient, ids: Sequence[str], tenant: str, collection: str) -> int:
    """Delete what may be deleted; says how many."""
    removed = 0
    with suppress(PermissionDenied):  # the files whose passages are still there are held back
        for some in _calls(ids):
            removed += client.delete_documents(some, tenant=tenant, collection=collection).deleted_count
    return removed


def _calls(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_A_CALL] for start in range(0, len(ids), _IDS_A_CALL)]
