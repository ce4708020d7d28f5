"""Documents of a collection, one after the other: their ids page by page, then what is on a page, as much as an answer
holds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from vecsec_client.errors import NotFound, ResourceExhausted
from vecsec_client.results import Document, DocumentIdPage, DocumentsAnswer
from vecsec_client.sources import Source, SourcePage

IDS_A_PAGE = 200


class PageParts:
    """A page of ids in as many parts as it takes: where the documents are larger than an answer may be, halves."""

    def __init__(self, document_ids: Sequence[str]) -> None:
        self._left = [document_ids] if document_ids else []

    def __bool__(self) -> bool:
        """Whether there is more to be asked for."""
        return bool(self._left)

    def take(self) -> Sequence[str]:
        """What is to be asked for next."""
        return self._left.pop()

    def halve(self, part: Sequence[str], refusal: ResourceExhausted) -> None:
        """A part was refused: ask for its halves, the first one first.

        Raises:
            ResourceExhausted: the refusal, where it was not for the size.
        """
        # With a time to come back it is a rate; a single document is no larger than it was stored.
        if len(part) == 1 or refusal.retry_after is not None:
            raise refusal
        middle = len(part) // 2
        self._left += [part[middle:], part[:middle]]


def iterate(
    ids_behind: Callable[[str], DocumentIdPage], documents: Callable[[Sequence[str]], DocumentsAnswer]
) -> Iterator[Document]:
    """All documents; `ids_behind` gets the page behind a token, and `documents` those of some ids."""
    page_token = ""
    while True:
        page = ids_behind(page_token)
        parts = PageParts(page.document_ids)
        while parts:
            part = parts.take()
            try:
                found = documents(part).documents
            except ResourceExhausted as refusal:
                parts.halve(part, refusal)
            except NotFound:
                return  # whoever empties the collection meanwhile leaves nothing to find
            else:
                yield from found
        page_token = page.next_page_token
        if not page_token:
            return


def all_sources(page_behind: Callable[[str], SourcePage]) -> Iterator[Source]:
    """All sources; `page_behind` gets the page behind a token."""
    page_token = ""
    while True:
        page = page_behind(page_token)
        yield from page.sources
        page_token = page.next_page_token
        if not page_token:
            return


async def all_sources_async(page_behind: Callable[[str], Awaitable[SourcePage]]) -> AsyncIterator[Source]:
    """The same for asynchronous calls."""
    page_token = ""
    while True:
        page = await page_behind(page_token)
        for source in page.sources:
            yield source
        page_token = page.next_page_token
        if not page_token:
            return


async def iterate_async(
    ids_behind: Callable[[str], Awaitable[DocumentIdPage]],
    documents: Callable[[Sequence[str]], Awaitable[DocumentsAnswer]],
) -> AsyncIterator[Document]:
    """The same for asynchronous calls."""
    page_token = ""
    while True:
        page = await ids_behind(page_token)
        parts = PageParts(page.document_ids)
        while parts:
            part = parts.take()
            try:
                found = (await documents(part)).documents
            except ResourceExhausted as refusal:
                parts.halve(part, refusal)
            except NotFound:
                return
            else:
                for document in found:
                    yield document
        page_token = page.next_page_token
        if not page_token:
            return
