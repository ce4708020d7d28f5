"""The call that changes labels: what it takes, what it sends and how its answer is read."""

from collections.abc import Mapping, Sequence

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client.calls import Exchange
from vecsec_client.connection import CallDefaults
from vecsec_client.filters import MetadataFilter
from vecsec_client.results import RelabelResult
from vecsec_client.several import Texts, several
from vecsec_client.values import AttributeValue, Sensitivity
from vecsec_client.wire import answers
from vecsec_client.wire.filters import filter_to_proto
from vecsec_client.wire.values import fill, label_change_to_proto, naming


def relabel_documents(
    defaults: CallDefaults,
    document_ids: Texts = (),
    *,
    tenant: str | None = None,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    whole_collection: bool = False,
    sensitivity: Sensitivity | str | None = None,
    topics: Texts = (),
    attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
    removed_attributes: Texts = (),
    readers: Texts | None = None,
    remove_readers: bool = False,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.RelabelDocumentsResponse, RelabelResult]:
    """Change labels without embedding anything again; what of them is not named stays. All change in one step for who
    reads meanwhile, however many they are.

    Changed are documents that the caller may read and write; others are left out, as if they did not exist. If one of
    the new labels is not the caller's to write, the call raises `PermissionDenied` and nothing is changed.

    Args:
        document_ids: the documents, at most 1,000; or none, and one of the next two.
        tenant: the tenant that owns them; the caller's own.
        collection: their collection; empty means "documents".
        filter: change those that this holds for.
        whole_collection: change all of the collection.
        sensitivity: how sensitive they are; None: as before.
        topics: what they are about, instead of what was said before; none: as before.
        attributes: attributes that are to have these values; others stay.
        removed_attributes: attributes that are to go.
        readers: who alone may read them, such as "group:finance"; None: as before.
        remove_readers: let all read them whom the other rules let through.
        dry_run: change nothing; the result says how many documents it would be.
        timeout: seconds for the call with all its retries.
    """
    change = label_change_to_proto(
        sensitivity=sensitivity,
        topics=topics,
        attributes=attributes or {},
        removed_attributes=removed_attributes,
        readers=readers,
        remove_readers=remove_readers,
    )
    request = gateway_pb2.RelabelDocumentsRequest(change=change)
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    fill(request, whole_collection=whole_collection, dry_run=dry_run)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    if filter is not None:
        request.filter.CopyFrom(filter_to_proto(filter))
    return Exchange("RelabelDocuments", request, answers.relabel_result, timeout)
