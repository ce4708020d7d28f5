"""Which documents a collection holds already."""

from collections.abc import Iterator

from vecsec_client import NotFound, VecSecClient

_IDS_A_PAGE = 1000


def stored_ids(client: VecSecClient, *, tenant: str, collection: str) -> Iterator[str]:
    """The ids of a collection's documents that the caller may read, in ascending order; none where it holds none."""
    page_token = ""
    try:
        while True:
            page = client.list_document_ids(
                tenant=tenant, collection=collection, page_size=_IDS_A_PAGE, page_token=page_token
            )
            yield from page.document_ids
            page_token = page.next_page_token
            if not page_token:
                return
    except NotFound:  # also while pages are read: whoever empties the collection leaves nothing to find
        return
