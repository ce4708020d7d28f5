"""Each unary call of the contract, once for both clients: what it takes, what it sends and how its answer is read.

The functions here are the clients' methods but for the carrying out: `blocking_client` and `async_client` put a `self`
in the place of the defaults and the result in the place of the exchange.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar, get_args

from google.protobuf.message import Message

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import access_pb2, query_pb2
from vecsec_client import results
from vecsec_client.connection import CallDefaults
from vecsec_client.filters import MetadataFilter
from vecsec_client.several import Several, Texts, several
from vecsec_client.values import Action, AttributeValue, Fallback, Sensitivity, ViolationType
from vecsec_client.wire import answers
from vecsec_client.wire.filters import filter_to_proto
from vecsec_client.wire.values import action_number, fill, label_to_proto, naming, word

ResultT = TypeVar("ResultT")
ResponseT = TypeVar("ResponseT", bound=Message)
ViolationsRequestT = TypeVar(
    "ViolationsRequestT", gateway_pb2.CountViolationsRequest, gateway_pb2.ListViolationsRequest
)


@dataclass(frozen=True, slots=True)
class Exchange(Generic[ResponseT, ResultT]):
    """One call: the method's name in the gateway's stub, the request, and how its answer becomes a result."""

    method: str
    request: Message
    read: Callable[[ResponseT], ResultT]
    timeout: float | None
    """Seconds for the call with all its retries; None means the client's own."""


def describe(method: Callable[..., object], call: Callable[..., Exchange[ResponseT, ResultT]]) -> None:
    """Let a client's method bear the call's name, words and signature, with `self` and the result in their places."""
    functools.update_wrapper(method, call)
    signature = inspect.signature(call)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [itself, *list(signature.parameters.values())[1:]]
    _, result = get_args(signature.return_annotation)
    vars(method).update(__signature__=signature.replace(parameters=parameters, return_annotation=result))


def search(
    defaults: CallDefaults,
    query: str | Sequence[float],
    *,
    tenant: str | None = None,
    k: int = 10,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    fallback: Fallback | str = Fallback.MOCK,
    include_embeddings: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.SearchDocumentsResponse, results.SearchAnswer]:
    """Find the nearest documents among those the caller may read.

    Args:
        query: a text, or a vector of the collection's own model.
        tenant: the tenant to search.
        k: how many documents to find, 1 to 1,000.
        collection: the collection to search; empty means "documents".
        filter: a condition on the documents' metadata.
        fallback: what to do when real retrieval is off or out of reach; look at the answer's `provenance`.
        include_embeddings: whether to return embeddings; only for roles that may configure.
        timeout: seconds for the call with all its retries.
    """
    request = gateway_pb2.SearchDocumentsRequest(
        include_embeddings=include_embeddings,
        fallback=gateway_pb2.Fallback.Value(f"FALLBACK_{word(Fallback, fallback, 'fallback').name}"),
    )
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection, k=k)
    if isinstance(query, str):
        with naming("query.text"):
            request.query.text = query
    else:
        with naming("query.vector.values"):
            request.query.vector.CopyFrom(query_pb2.Vector(values=[float(value) for value in query]))
    if filter is not None:
        request.filter.CopyFrom(filter_to_proto(filter))
    return Exchange("SearchDocuments", request, answers.search_answer, timeout)


def get_documents(
    defaults: CallDefaults,
    document_ids: Texts,
    *,
    tenant: str | None = None,
    collection: str = "",
    include_embeddings: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.GetDocumentsResponse, results.DocumentsAnswer]:
    """Read up to 1,000 documents by id; those that do not exist or may not be read are left out alike."""
    request = gateway_pb2.GetDocumentsRequest(include_embeddings=include_embeddings)
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    return Exchange("GetDocuments", request, answers.documents_answer, timeout)


def delete_documents(
    defaults: CallDefaults,
    document_ids: Texts,
    *,
    tenant: str | None = None,
    collection: str = "",
    timeout: float | None = None,
) -> Exchange[gateway_pb2.DeleteDocumentsResponse, results.DeleteResult]:
    """Delete up to 1,000 documents by id; those that do not exist or may not be deleted are left out alike."""
    request = gateway_pb2.DeleteDocumentsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    return Exchange("DeleteDocuments", request, answers.delete_result, timeout)


def list_collections(
    defaults: CallDefaults, *, tenant: str | None = None, timeout: float | None = None
) -> Exchange[gateway_pb2.ListCollectionsResponse, tuple[results.Collection, ...]]:
    """List the tenant's collections that hold at least one document the caller may read."""
    request = fill(gateway_pb2.ListCollectionsRequest(), tenant_id=defaults.tenant_of(tenant))
    return Exchange("ListCollections", request, answers.collections, timeout)


def list_labels(
    defaults: CallDefaults,
    *,
    tenant: str | None = None,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListLabelsResponse, results.LabelPage]:
    """A page of the labels of a tenant's documents, with their numbers; for callers who may configure it.

    Go on with the page's `next_page_token` until it is empty. A page may hold fewer than `page_size` labels (at
    most 1,000; 0 leaves it to the service) though there are more.
    """
    request = gateway_pb2.ListLabelsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), page_size=page_size, page_token=page_token)
    return Exchange("ListLabels", request, answers.label_page, timeout)


def reread_tenant(
    defaults: CallDefaults, *, tenant: str | None = None, timeout: float | None = None
) -> Exchange[gateway_pb2.RereadTenantResponse, str]:
    """Have what is kept in memory of a tenant read from the store anew; for callers who may configure it.

    Returns the version of the policy that allowed it.
    """
    request = fill(gateway_pb2.RereadTenantRequest(), tenant_id=defaults.tenant_of(tenant))
    return Exchange("RereadTenant", request, lambda response: response.policy_version, timeout)


def list_document_ids(
    defaults: CallDefaults,
    *,
    tenant: str | None = None,
    collection: str = "",
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListDocumentIdsResponse, results.DocumentIdPage]:
    """A page of the ids of a collection's documents that the caller may read, in ascending order.

    Go on with the page's `next_page_token` until it is empty. At most 1,000 ids a page; 0 leaves it to the service.
    """
    request = gateway_pb2.ListDocumentIdsRequest()
    tenant_id = defaults.tenant_of(tenant)
    fill(request, tenant_id=tenant_id, collection_id=collection, page_size=page_size, page_token=page_token)
    return Exchange("ListDocumentIds", request, answers.document_id_page, timeout)


def export_documents(
    defaults: CallDefaults,
    *,
    tenant: str | None = None,
    moment: str = "",
    page_token: str = "",
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ExportDocumentsResponse, results.ExportPage]:
    """A page of all documents that the caller may read, with their embeddings, as they were at one moment.

    For callers who may configure the tenant. Go on with the page's `moment` and `next_page_token` until the latter is
    empty. A moment is held for two minutes after its last page, an hour at most, while the service runs:
    `InvalidArgument` of the field "moment" says that it is no more; then begin anew.

    Args:
        tenant: the tenant whose documents are wanted.
        moment: of the page before; empty begins with the state of now.
        page_token: of the page before.
        timeout: seconds for the call with all its retries.
    """
    request = gateway_pb2.ExportDocumentsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), moment=moment, page_token=page_token)
    return Exchange("ExportDocuments", request, answers.export_page, timeout)


def explain_access(
    defaults: CallDefaults,
    *,
    sensitivity: Sensitivity | str,
    topics: Texts,
    action: Action | str = Action.READ,
    attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
    tenant: str | None = None,
    label_tenant: str | None = None,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ExplainAccessResponse, results.Explanation]:
    """Ask whether the caller may touch a row with this label and, if it may configure the tenant, why.

    Args:
        sensitivity: the row's sensitivity.
        topics: what the row is about.
        action: what would be done with it.
        attributes: further attributes of its label.
        tenant: the tenant whose row it would be.
        label_tenant: the tenant that the row itself is tagged with, if that is another one.
        timeout: seconds for the call with all its retries.
    """
    tenant_id = defaults.tenant_of(tenant)
    label = label_to_proto(
        tenant_id=tenant_id if label_tenant is None else label_tenant,
        sensitivity=sensitivity,
        topics=topics,
        attributes=attributes or {},
    )
    request = gateway_pb2.ExplainAccessRequest(action=action_number(action), label=label)
    return Exchange("ExplainAccess", fill(request, tenant_id=tenant_id), answers.explanation, timeout)


def policy_status(
    defaults: CallDefaults, *, tenant: str | None = None, timeout: float | None = None
) -> Exchange[gateway_pb2.GetPolicyStatusResponse, results.PolicyStatus]:
    """Which policy decides over a tenant's rows, and what a candidate would change; for callers who may configure
    the tenant."""
    request = fill(gateway_pb2.GetPolicyStatusRequest(), tenant_id=defaults.tenant_of(tenant))
    return Exchange("GetPolicyStatus", request, answers.policy_status, timeout)


def count_violations(
    defaults: CallDefaults,
    *,
    types: Several[ViolationType | str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    tenant: str | None = None,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.CountViolationsResponse, results.ViolationCounts]:
    """Count violations of a tenant's callers; for callers who may configure the tenant.

    Args:
        types: the kinds of rule that were broken; all, if there are none.
        start: count from then on; a time without a zone is this machine's.
        end: count what was before then.
        tenant: the tenant whose callers are meant.
        timeout: seconds for the call with all its retries.
    """
    request = gateway_pb2.CountViolationsRequest()
    _fill_violations(request, defaults.tenant_of(tenant), types, start, end)
    asked = [each for each in ViolationType if not types or each in types]
    return Exchange("CountViolations", request, lambda response: answers.violation_counts(response, asked), timeout)


def list_violations(
    defaults: CallDefaults,
    *,
    types: Several[ViolationType | str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    page_size: int = 0,
    page_token: str = "",
    newest_first: bool = False,
    tenant: str | None = None,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListViolationsResponse, results.ViolationPage]:
    """List violations of a tenant's callers, one by one; for callers who may configure the tenant.

    Args:
        types: the kinds of rule that were broken; all, if there are none.
        start: list from then on; a time without a zone is this machine's.
        end: list what was before then.
        page_size: how many at most, up to 1,000; 0 leaves it to the service.
        page_token: of the page before, to go on behind it, with the same other arguments. To follow what happens,
            ask again and again with the last token.
        newest_first: begin with the newest; such a listing cannot be followed.
        tenant: the tenant whose callers are meant.
        timeout: seconds for the call with all its retries.
    """
    request = gateway_pb2.ListViolationsRequest(newest_first=newest_first)
    _fill_violations(request, defaults.tenant_of(tenant), types, start, end)
    fill(request, page_size=page_size, page_token=page_token)
    return Exchange("ListViolations", request, answers.violation_page, timeout)


def _fill_violations(
    request: ViolationsRequestT,
    tenant_id: str,
    types: Several[ViolationType | str],
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Say which violations are meant."""
    fill(request, tenant_id=tenant_id)
    with naming("violation_types"):
        several(types)
    for violation in types:
        name = word(ViolationType, violation, "violation_types").value.upper()
        request.violation_types.append(access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{name}"))
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment is not None:
            with naming(name):
                getattr(request, name).FromDatetime(moment.astimezone(UTC))
