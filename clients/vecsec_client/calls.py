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
from vecsec.type.v1 import access_pb2, batch_pb2, query_pb2
from vecsec_client import results
from vecsec_client.connection import CallDefaults
from vecsec_client.errors import VecSecError
from vecsec_client.filters import MetadataFilter
from vecsec_client.several import Several, Texts, several
from vecsec_client.values import (
    Action,
    ActionWord,
    AttributeValue,
    SearchMode,
    SearchModeWord,
    Sensitivity,
    SensitivityWord,
    ViolationType,
    ViolationWord,
)
from vecsec_client.wire import answers
from vecsec_client.wire.filters import filter_to_proto
from vecsec_client.wire.values import action_number, fill, label_to_proto, mode_number, naming, word

_COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"

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
    done_before: ResultT | None = None
    """What it comes to if a retry finds no collection any more: the attempt whose answer was lost has done it."""

    def was_done(self, failure: VecSecError, earlier: Sequence[VecSecError]) -> bool:
        """Whether this failure says that an earlier attempt, which ended without an answer, did what was asked for."""
        was_lost = any(each.is_answer_lost for each in earlier)
        return self.done_before is not None and was_lost and failure.reason == _COLLECTION_NOT_FOUND

    def result_of(self, response: ResponseT, request_id: str) -> ResultT:
        """What the answer says.

        Raises:
            VecSecError: if that is nothing the caller wants; it names the request.
        """
        try:
            return self.read(response)
        except VecSecError as error:
            error.request_id = error.request_id or request_id
            raise


def describe(method: Callable[..., object], call: Callable[..., Exchange[ResponseT, ResultT]]) -> None:
    """Let a client's method bear the call's name, words and signature, with `self` and the result in their places."""
    functools.update_wrapper(method, call)
    signature = inspect.signature(call)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [itself, *list(signature.parameters.values())[1:]]
    _, result = get_args(signature.return_annotation)
    vars(method).update(__signature__=signature.replace(parameters=parameters, return_annotation=result))


def take_signature(method: Callable[..., object], like: Callable[..., object], result: object) -> None:
    """Let a method that hands its arguments on to another show that one's signature, with its own result."""
    signature = inspect.signature(like)
    vars(method).update(__signature__=signature.replace(return_annotation=result), __module__=like.__module__)


def search(
    defaults: CallDefaults,
    query: str | Sequence[float],
    *,
    tenant: str | None = None,
    k: int = 10,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    mode: SearchMode | SearchModeWord = SearchMode.AUTO,
    min_score: float | None = None,
    offset: int = 0,
    distinct_texts: bool = False,
    allow_mock: bool | None = None,
    include_embeddings: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.SearchDocumentsResponse, results.SearchAnswer]:
    """Find the documents that fit best among those the caller may read.

    Args:
        query: a text, or a vector of the collection's own model.
        tenant: the tenant to search.
        k: how many documents to find, 1 to 1,000.
        collection: the collection to search; empty means "documents".
        filter: a condition on the documents' metadata and texts.
        mode: by what documents are found: "vector", "text" (words; phrases in double quotes), "hybrid" (both), or
            "auto": hybrid for a text where the store can, else vector. The answer says which it was (`mode`), and what
            `score` means (`metric`).
        min_score: leave out documents with a lower score.
        offset: leave out so many of the best that the caller may read; `k` and `offset` may be 1,000 together.
        distinct_texts: give documents of equal texts once, and others for the rest.
        allow_mock: whether made-up rows are an answer when real retrieval is off or out of reach; the answer says so
            (`is_real`, `provenance`, `mock_reason`). None leaves it to the client, which takes none unless it was made
            with `allow_mock=True`.
        include_embeddings: whether to return embeddings; only for roles that may configure.
        timeout: seconds for the call with all its retries.

    Raises:
        RealRetrievalUnavailable: if there is nothing real and made-up rows are not allowed; its `mock_reason` says why.
        VecSecError: in the subclass for the kind of failure.
    """
    mock_allowed = defaults.mock_allowed(allow_mock)
    request = gateway_pb2.SearchDocumentsRequest(
        fallback=gateway_pb2.FALLBACK_MOCK if mock_allowed else gateway_pb2.FALLBACK_NONE,
    )
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection, k=k)
    fill(
        request,
        include_embeddings=include_embeddings,
        mode=mode_number(mode),
        offset=offset,
        distinct_texts=distinct_texts,
    )
    if min_score is not None:
        fill(request, min_score=min_score)
    fill_query(request, query, filter)
    read = answers.search_answer if mock_allowed else answers.real_search_answer
    return Exchange("SearchDocuments", request, read, timeout)


def fill_query(
    message: gateway_pb2.SearchDocumentsRequest | batch_pb2.BatchQuery,
    query: str | Sequence[float],
    condition: MetadataFilter | None,
    path: str = "",
) -> None:
    """Say what to look for; `path` is where in the request that is.

    Raises:
        InvalidArgument: naming the field that cannot be sent.
    """
    if isinstance(query, str):
        with naming(f"{path}query.text"):
            message.query.text = query
    else:
        with naming(f"{path}query.vector.values"):
            message.query.vector.CopyFrom(query_pb2.Vector(values=[float(value) for value in query]))
    if condition is not None:
        message.filter.CopyFrom(filter_to_proto(condition, f"{path}filter"))


def get_documents(
    defaults: CallDefaults,
    document_ids: Texts,
    *,
    tenant: str | None = None,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    include_embeddings: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.GetDocumentsResponse, results.DocumentsAnswer]:
    """Read up to 1,000 documents by id; those that do not exist or may not be read are left out alike, and so are those
    that the filter does not hold for."""
    request = gateway_pb2.GetDocumentsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    fill(request, include_embeddings=include_embeddings)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    if filter is not None:
        request.filter.CopyFrom(filter_to_proto(filter))
    return Exchange("GetDocuments", request, answers.documents_answer, timeout)


def delete_documents(
    defaults: CallDefaults,
    document_ids: Texts = (),
    *,
    tenant: str | None = None,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    whole_collection: bool = False,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.DeleteDocumentsResponse, results.DeleteResult]:
    """Delete documents; those that do not exist or may not be deleted are left out alike. They go in one step for who
    reads meanwhile, however many they are.

    Args:
        document_ids: the documents, at most 1,000; or none, and one of the next two.
        tenant: the tenant that owns them; the caller's own.
        collection: their collection; empty means "documents".
        filter: delete what this holds for, of what the caller may read and delete.
        whole_collection: delete all that the caller may delete. Where nothing is left, the collection is gone, too, and
            an import makes another one of its name.
        dry_run: delete nothing; the result says how many documents it would be.
        timeout: seconds for the call with all its retries.
    """
    request = gateway_pb2.DeleteDocumentsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    fill(request, whole_collection=whole_collection, dry_run=dry_run)
    with naming("document_ids"):
        # Where an older service does not look: it would delete.
        (request.dry_run_ids if dry_run else request.document_ids).extend(several(document_ids))
    if filter is not None:
        request.filter.CopyFrom(filter_to_proto(filter))
    nothing = None if dry_run else answers.delete_result(gateway_pb2.DeleteDocumentsResponse())
    return Exchange("DeleteDocuments", request, answers.delete_result, timeout, nothing)


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
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    page_size: int = 0,
    page_token: str = "",
    include_count: bool = False,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListDocumentIdsResponse, results.DocumentIdPage]:
    """A page of the ids of a collection's documents that the caller may read, in ascending order.

    Go on with the page's `next_page_token` until it is empty. At most 1,000 ids a page; 0 leaves it to the service.
    With `include_count`, the page says how many documents there are altogether; with a filter it says so in any case.

    Raises:
        VecSecError: of the status UNIMPLEMENTED, if the gateway is too old to count, or to look at a filter.
    """
    request = gateway_pb2.ListDocumentIdsRequest()
    fill(request, tenant_id=defaults.tenant_of(tenant), collection_id=collection)
    fill(request, page_size=page_size, page_token=page_token)
    # With each filter: a gateway that does not know of either counts nothing, and would list all.
    fill(request, include_count=include_count or filter is not None)
    if filter is not None:
        request.filter.CopyFrom(filter_to_proto(filter))
    read = answers.counted_id_page if request.include_count else answers.document_id_page
    return Exchange("ListDocumentIds", request, read, timeout)


def count_documents(
    defaults: CallDefaults,
    *,
    tenant: str | None = None,
    collection: str = "",
    filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListDocumentIdsResponse, int]:
    """How many documents of a collection the caller may read, of those that the filter holds for.

    Raises:
        VecSecError: of the status UNIMPLEMENTED, if the gateway is too old to count.
    """
    page = list_document_ids(
        defaults,
        tenant=tenant,
        collection=collection,
        filter=filter,
        page_size=1,
        include_count=True,
        timeout=timeout,
    )
    return Exchange(page.method, page.request, answers.document_count, timeout)


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
    sensitivity: Sensitivity | SensitivityWord,
    topics: Texts,
    action: Action | ActionWord = Action.READ,
    attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
    readers: Texts | None = None,
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
        readers: who alone may read it, such as "user:alice" or "group:finance".
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
        readers=readers,
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


def tenant_usage(
    defaults: CallDefaults, *, tenant: str | None = None, timeout: float | None = None
) -> Exchange[gateway_pb2.GetTenantUsageResponse, results.TenantUsage]:
    """What a tenant uses of what it may; for callers who may configure the tenant."""
    request = fill(gateway_pb2.GetTenantUsageRequest(), tenant_id=defaults.tenant_of(tenant))
    return Exchange("GetTenantUsage", request, answers.tenant_usage, timeout)


def count_violations(
    defaults: CallDefaults,
    *,
    types: Several[ViolationType | ViolationWord] = (),
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
    types: Several[ViolationType | ViolationWord] = (),
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
    request = fill(gateway_pb2.ListViolationsRequest(), newest_first=newest_first)
    _fill_violations(request, defaults.tenant_of(tenant), types, start, end)
    fill(request, page_size=page_size, page_token=page_token)
    return Exchange("ListViolations", request, answers.violation_page, timeout)


def list_foreign_access(
    defaults: CallDefaults,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    page_size: int = 0,
    page_token: str = "",
    newest_first: bool = False,
    tenant: str | None = None,
    timeout: float | None = None,
) -> Exchange[gateway_pb2.ListForeignAccessResponse, results.ForeignAccessPage]:
    """List what callers of other tenants did in a tenant; for its own callers who may configure it.

    Args:
        start: list from then on; a time without a zone is this machine's.
        end: list what was before then.
        page_size: how many at most, up to 1,000; 0 leaves it to the service.
        page_token: of the page before, to go on behind it, with the same other arguments. To follow what happens,
            ask again and again with the last token.
        newest_first: begin with the newest; such a listing cannot be followed.
        tenant: the caller's own tenant.
        timeout: seconds for the call with all its retries.
    """
    request = fill(gateway_pb2.ListForeignAccessRequest(), newest_first=newest_first)
    fill(request, tenant_id=defaults.tenant_of(tenant), page_size=page_size, page_token=page_token)
    _fill_times(request, start, end)
    return Exchange("ListForeignAccess", request, answers.foreign_access_page, timeout)


def _fill_violations(
    request: ViolationsRequestT,
    tenant_id: str,
    types: Several[ViolationType | ViolationWord],
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Say which violations are meant."""
    fill(request, tenant_id=tenant_id)
    with naming("violation_types"):
        wanted = list(several(types))
    for violation in wanted:
        name = word(ViolationType, violation, "violation_types").value.upper()
        request.violation_types.append(access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{name}"))
    _fill_times(request, start, end)


def _fill_times(request: Message, start: datetime | None, end: datetime | None) -> None:
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment is not None:
            with naming(name):
                getattr(request, name).FromDatetime(moment.astimezone(UTC))
