"""What is said of a filter that nothing matched."""

from vecsec_retrieval.model.filter_kinds import compared_keys, foreign_kinds
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.visibility.eyes import Eyes


async def refuse_senseless(metadata: MetadataFilter | None, reader: CollectionReader, readable: Eyes) -> None:
    """See that nothing was found because nothing matches, not because a number was compared with texts. What else was
    asked for does not matter: a filter that matches some document makes sense. It takes another look at what the caller
    may read, and at nothing else: so only where nothing was found.

    Raises:
        InvalidRequest: naming the comparisons that can hold for none of it.
    """
    if metadata is None or not (keys := compared_keys(metadata)):
        return
    complaint = foreign_kinds(metadata, await reader.value_kinds(readable, keys))
    if complaint is not None and not await reader.count(readable, metadata):
        raise complaint
