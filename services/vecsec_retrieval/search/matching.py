"""Documents that match a filter, in a thread where it looks at their texts: a thousand may be many MiB."""

import asyncio
from collections.abc import Iterable

from vecsec_retrieval.model.filters import MetadataFilter, looks_at_texts, of_document
from vecsec_retrieval.model.rows import Document


async def matching(documents: Iterable[Document], condition: MetadataFilter | None) -> list[Document]:
    """Those that match, in their order; None matches all."""
    holds = of_document(condition)

    def found() -> list[Document]:
        return [document for document in documents if holds(document)]

    if condition is None or not looks_at_texts(condition):
        return found()
    return await asyncio.to_thread(found)
