"""Listings of the services, page by page, and which documents a collection holds already."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from vecsec_client import DocumentIdPage, LabelPage, NotFound, VecSecClient

_IDS_A_PAGE = 1000

PageT = TypeVar("PageT", DocumentIdPage, LabelPage)


def stored_ids(client: VecSecClient, *, tenant: str, collection: str) -> Iterator[str]:
    """The ids of a collection's documents that the caller may read, in ascending order; none where it holds none."""
    try:
        listing = partial(client.list_document_ids, tenant=tenant, collection=collection, page_size=_IDS_A_PAGE)
        for page in pages(listing):
            yield from page.document_ids
    except NotFound:  # also while pages are read: whoever empties the collection leaves nothing to find
        return


def pages(fetch: Callable[..., PageT]) -> Iterator[PageT]:
    """All pages of a listing; `fetch` gets the one behind its `page_token`."""
    token = ""
    while True:
        page = fetch(page_token=token)
        yield page
        token = page.next_page_token
        if not token:
            return
