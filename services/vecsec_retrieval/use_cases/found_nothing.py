"""What is said of a filter that nothing matched."""

from vecsec_retrieval.model.filter_kinds import compared_keys, refuse_foreign_kinds
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.visibility.eyes import Eyes


async def refuse_senseless(metadata: MetadataFilter | None, reader: CollectionReader, readable: Eyes) -> None:
    """See that nothing was found because nothing matches, not because a number was compared with texts. It takes
    another look at what the caller may read, and at nothing else: so only where nothing was found.

    Raises:
        InvalidRequest: naming the comparisons that can hold for none of it.
    """
    if metadata is not None and (keys := compared_keys(metadata)):
        refuse_foreign_kinds(metadata, await reader.value_kinds(readable, keys))
