"""Listings of the services, page by page, and which documents a collection holds already."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from vecsec_client import NotFound, VecSecClient

_IDS_A_PAGE = 1000


def stored_ids(client: VecSecClient, *, tenant: str, collection: str) -> Iterator[str]:
    """The ids of a collection's documents that the caller may read, in ascending order; none where it holds none."""
    try:
        for page in pages(
            lambda token: client.list_document_ids(
                tenant=tenant, collection=collection, page_size=_IDS_A_PAGE, page_token=token
            )
        ):
            yield from page.document_ids
    except NotFound:  # also while pages are read: whoever empties the collection leaves nothing to find
        return


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PageT = TypeVar("PageT", bound=_Page)


def pages(fetch: Callable[[str], PageT]) -> Iterator[PageT]:
    """All pages of a listing; `fetch` gets the one behind a token."""
    token = ""
    while True:
        page = fetch(token)
        yield page
        token = page.next_page_token
        if not token:
            return
