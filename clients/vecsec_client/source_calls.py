"""The calls about sources: what they take, what they send and how their answers are read."""

from collections.abc import Mapping, Sequence

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client import calls, relabelling
from vecsec_client.calls import Exchange
from vecsec_client.connection import CallDefaults
from vecsec_client.filters import of_file
from vecsec_client.results import DeleteResult, RelabelResult
from vecsec_client.several import Texts
from vecsec_client.sources import SourcePage
from vecsec_client.values import AttributeValue, Sensitivity
from vecsec_client.wire import answers
from vecsec_client.wire.values import fill


def list_sources(
    defaults: CallDefaults,
    *,
    tenant: str | None = None,
    collection: str = "",
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListSourcesResponse, SourcePage]:
    """A page of the sources of a collection's documents, by their ids: those of which the caller may read at least one
    passage. `iter_sources` goes on by itself.

    Go on with the page's `next_page_token` until it is empty. At most 1,000 sources a page, perhaps fewer though there
    are more; 0 leaves it to the service.
    """
    request = gateway_pb2.ListSourcesRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    fill(request, page_size=page_size, page_token=page_token)
    return Exchange("ListSources", request, answers.source_page, timeout)


def delete_source(
    defaults: CallDefaults,
    source_id: str,
    *,
    tenant: str | None = None,
    collection: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.DeleteDocumentsResponse, DeleteResult]:
    """Delete the passages of a source that the caller may read and delete, all parts of a large file among them (see
    `of_file`), in one step; see `delete_documents`."""
    return calls.delete_documents(
        defaults,
        tenant=tenant,
        collection=collection,
        filter=of_file(source_id),
        dry_run=dry_run,
        timeout=timeout,
    )


def relabel_source(
    defaults: CallDefaults,
    source_id: str,
    *,
    tenant: str | None = None,
    collection: str = "",
    sensitivity: Sensitivity | str | None = None,
    topics: Texts = (),
    attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
    removed_attributes: Texts = (),
    readers: Texts | None = None,
    remove_readers: bool = False,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.RelabelDocumentsResponse, RelabelResult]:
    """Change the labels of the passages of a source that the caller may read and write, all parts of a large file among
    them (see `of_file`), in one step; see `relabel_documents`. `whole_sources` brings labels of its own the next time;
    `vecsec import` keeps those that a file says nothing of."""
    return relabelling.relabel_documents(
        defaults,
        tenant=tenant,
        collection=collection,
        filter=of_file(source_id),
        sensitivity=sensitivity,
        topics=topics,
        attributes=attributes,
        removed_attributes=removed_attributes,
        readers=readers,
        remove_readers=remove_readers,
        dry_run=dry_run,
        timeout=timeout,
    )
