"""What a collection has of a tree's files, as the services tell it: no journal could know what others did since."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vecsec_cli.importing.trees.file_versions import FileVersion
from vecsec_client import NotFound, PermissionDenied, Source, SourceLabel, VecSecClient, of_source
from vecsec_client.sources import file_and_part, part_id

_SOURCES_A_CALL = 200


@dataclass(frozen=True, slots=True)
class Collection:
    """Where documents are."""

    client: VecSecClient
    tenant: str
    collection: str

    def sources(self) -> dict[str, Source]:
        """The sources that the caller may read, by their ids; none where the caller may read nothing."""
        try:
            found = self.client.iter_sources(tenant=self.tenant, collection=self.collection)
            return {each.source_id: each for each in found}
        except (NotFound, PermissionDenied):  # who may write and not read has all files sent
            return {}

    def delete(self, source_ids: Iterable[str]) -> int:
        """Delete sources; how many passages went.

        Raises:
            PermissionDenied: if this caller may not; some may be gone then.
        """
        ids = list(source_ids)
        count = 0
        for start in range(0, len(ids), _SOURCES_A_CALL):
            some = of_source(*ids[start : start + _SOURCES_A_CALL])
            result = self.client.delete_documents(tenant=self.tenant, collection=self.collection, filter=some)
            count += result.deleted_count
        return count


class StoredFiles:
    """The sources of a collection that an import of files made."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        versions = {source_id: FileVersion.parse(source.version) for source_id, source in sources.items()}
        self._versions = {source_id: version for source_id, version in versions.items() if version is not None}
        self._own = {source_id: sources[source_id] for source_id in self._versions}
        """What others made is none of an import's business."""
        self._labels_of: dict[str, list[SourceLabel]] = {}
        """Of all passages of each file, whoever stored them."""
        for source_id, source in sources.items():
            self._labels_of.setdefault(file_and_part(source_id)[0], []).extend(source.labels)
        self._sources_of: dict[str, list[str]] = {}
        for source_id in self._own:
            self._sources_of.setdefault(file_and_part(source_id)[0], []).append(source_id)

    def is_current(self, file: str, digest: str) -> bool:
        """Whether all passages of a file are there, and of this version."""
        return file in self._own and all(
            self._is_whole(part_id(file, part), digest) for part in range(1, self.parts_of(file) + 1)
        )

    def passages_of(self, file: str, among: Container[str] | None = None) -> int:
        """How many passages of a file are there, of all of its sources or of some."""
        sources = self._sources_of.get(file, ())
        return sum(self._own[each].document_count for each in sources if among is None or each in among)

    def parts_of(self, file: str) -> int:
        """Of how many sources a file is, by the first of them."""
        return self._versions[file].parts

    def surplus(self, parts: Mapping[str, int]) -> list[str]:
        """The sources of files that are of fewer parts now."""
        return [
            source_id
            for file, count in parts.items()
            for source_id in self._sources_of.get(file, ())
            if file_and_part(source_id)[1] > count
        ]

    def others(self, taken: Container[str]) -> dict[str, int]:
        """How many passages there are of each file that is not among these."""
        return {file: self.passages_of(file) for file in self._sources_of if file not in taken}

    def labels_of(self, file: str) -> Sequence[SourceLabel]:
        """The labels that passages of a file bear, each source's own; none of a file that is new."""
        return self._labels_of.get(file, ())

    @property
    def file_count(self) -> int:
        """How many files there is something of."""
        return len(self._sources_of)

    def sources_of(self, files: Iterable[str]) -> list[str]:
        """All sources that these files are."""
        return [source_id for file in files for source_id in self._sources_of.get(file, ())]

    def _is_whole(self, source_id: str, digest: str) -> bool:
        version = self._versions.get(source_id)
        if version is None or version.digest != digest:
            return False
        return self._own[source_id].document_count == version.passages
