"""Which metadata keys there are in what a caller may read, wherever it is read from."""

from vecsec_retrieval.model.filter_kinds import compared_keys
from vecsec_retrieval.model.filters import MetadataFilter, refuse_unknown_keys
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.visibility.eyes import Eyes


async def refuse_misspelt(metadata: MetadataFilter | None, reader: CollectionReader, readable: Eyes) -> None:
    """Catch comparisons with keys that no document has which the caller may read.

    Raises:
        InvalidRequest: naming every such key.
    """
    if metadata is None:
        return
    known = await reader.metadata_keys(readable)
    if isinstance(reader, StoreReader):
        # Its list keeps the keys of rows that are gone; an index in memory has none but those of rows.
        known = await reader.keys_in_use(readable, compared_keys(metadata) & known)
    refuse_unknown_keys(metadata, known)
