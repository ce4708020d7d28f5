"""A gateway that does what a test tells it to, behind a real gRPC server."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceServicer, add_GatewayServiceServicer_to_server
from vecsec.type.v1 import document_pb2


@dataclass(frozen=True)
class Failure:
    """How a call is to fail."""

    code: grpc.StatusCode
    message: str = "it failed"
    reason: str = ""
    violations: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None

    def status(self) -> Any:
        """As grpc wants it, with the details that our services send."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain="vecsec", metadata=self.metadata)
        ]
        if self.violations:
            fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations]
            details.append(error_details_pb2.BadRequest(field_violations=fields))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return rpc_status.to_status(status)


@dataclass(frozen=True)
class Received:
    """A call as it arrived."""

    method: str
    request: Any
    metadata: dict[str, str]
    time_remaining: float | None


def never(document: document_pb2.DocumentInput) -> tuple[str, str] | None:
    """Refuses no document."""
    return None


@dataclass
class FakeGateway(GatewayServiceServicer):
    """Answers from a script and remembers what it got."""

    answers: dict[str, Message] = field(default_factory=dict)
    failures: deque[Failure] = field(default_factory=deque)
    """The next calls fail so, one each; after that they are answered."""
    received: list[Received] = field(default_factory=list)

    refusal_of: Callable[[document_pb2.DocumentInput], tuple[str, str] | None] = never
    """The bad field of a document and why, if an import is to refuse it."""
    refusal_code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    reads_ahead: bool = False
    """Whether an import looks at a batch before it answers the one before, as a pipelined service does."""
    cut_off_after: deque[int] = field(default_factory=deque)
    """Each of the next import streams breaks after so many answers, having stored one more batch without an answer."""
    stored: dict[str, document_pb2.DocumentInput] = field(default_factory=dict)
    streams: int = 0
    batch_sizes: list[int] = field(default_factory=list)

    def methods(self) -> list[str]:
        """The calls in order."""
        return [each.method for each in self.received]

    def SearchDocuments(self, request: Any, context: Any) -> Any:
        return self._answer("SearchDocuments", request, context)

    def GetDocuments(self, request: Any, context: Any) -> Any:
        self.answers.setdefault("GetDocuments", gateway_pb2.GetDocumentsResponse())
        return self._answer("GetDocuments", request, context)

    def DeleteDocuments(self, request: Any, context: Any) -> Any:
        return self._answer("DeleteDocuments", request, context)

    def RelabelDocuments(self, request: Any, context: Any) -> Any:
        return self._answer("RelabelDocuments", request, context)

    def ListCollections(self, request: Any, context: Any) -> Any:
        return self._answer("ListCollections", request, context)

    def ListLabels(self, request: Any, context: Any) -> Any:
        return self._answer("ListLabels", request, context)

    def GetTenantUsage(self, request: Any, context: Any) -> Any:
        return self._answer("GetTenantUsage", request, context)

    def ListDocumentIds(self, request: Any, context: Any) -> Any:
        return self._answer("ListDocumentIds", request, context)

    def ListSources(self, request: Any, context: Any) -> Any:
        return self._answer("ListSources", request, context)

    def ExportDocuments(self, request: Any, context: Any) -> Any:
        return self._answer("ExportDocuments", request, context)

    def RereadTenant(self, request: Any, context: Any) -> Any:
        return self._answer("RereadTenant", request, context)

    def ExplainAccess(self, request: Any, context: Any) -> Any:
        return self._answer("ExplainAccess", request, context)

    def GetPolicyStatus(self, request: Any, context: Any) -> Any:
        return self._answer("GetPolicyStatus", request, context)

    def CountViolations(self, request: Any, context: Any) -> Any:
        return self._answer("CountViolations", request, context)

    def ListViolations(self, request: Any, context: Any) -> Any:
        return self._answer("ListViolations", request, context)

    def ListForeignAccess(self, request: Any, context: Any) -> Any:
        return self._answer("ListForeignAccess", request, context)

    def ImportDocuments(self, request_iterator: Any, context: Any) -> Iterator[gateway_pb2.ImportDocumentsResponse]:
        self.streams += 1
        self._note("ImportDocuments", None, context)
        self._fail_if_told(context)
        cut_off_after = self.cut_off_after.popleft() if self.cut_off_after else None
        requests = self._read_ahead(request_iterator) if self.reads_ahead else request_iterator
        for number, request in enumerate(requests):
            self.batch_sizes.append(len(request.documents))
            self._refuse(request, context)
            self.stored.update({document.document_id: document for document in request.documents})
            if cut_off_after is not None and number >= cut_off_after:
                context.abort_with_status(Failure(grpc.StatusCode.UNAVAILABLE).status())
            acknowledged = self._acknowledgement(number + 1, len(request.documents))
            acknowledged.whole_sources = request.whole_sources
            yield acknowledged

    def _read_ahead(self, requests: Any) -> Iterator[gateway_pb2.ImportDocumentsRequest]:
        """What is there already is looked at first: a bad batch overtakes the good ones before it."""
        arrived: queue.SimpleQueue[gateway_pb2.ImportDocumentsRequest | None] = queue.SimpleQueue()

        def read() -> None:
            with suppress(Exception):  # the caller broke off
                for request in requests:
                    arrived.put(request)
            arrived.put(None)

        threading.Thread(target=read, daemon=True).start()
        waiting: deque[gateway_pb2.ImportDocumentsRequest] = deque()
        while waiting or (request := arrived.get()) is not None:
            waiting.extend([] if waiting else [request])
            time.sleep(0.005)
            while not arrived.empty() and (request := arrived.get()) is not None:
                waiting.append(request)
            bad = [each for each in waiting if any(self.refusal_of(document) for document in each.documents)]
            yield bad[0] if bad else waiting.popleft()

    def _refuse(self, request: gateway_pb2.ImportDocumentsRequest, context: Any) -> None:
        violations = [
            (f"documents[{position}].{refusal[0]}", refusal[1])
            for position, document in enumerate(request.documents)
            if (refusal := self.refusal_of(document)) is not None
        ]
        if violations:
            context.abort_with_status(
                Failure(self.refusal_code, "bad documents", "INVALID_FIELD", tuple(violations)).status()
            )

    @staticmethod
    def _acknowledgement(number: int, stored: int) -> gateway_pb2.ImportDocumentsResponse:
        return gateway_pb2.ImportDocumentsResponse(batch_number=number, stored_count=stored)

    def _answer(self, method: str, request: Message, context: Any) -> Message:
        self._note(method, request, context)
        self._fail_if_told(context)
        return self.answers[method]

    def _note(self, method: str, request: Message | None, context: Any) -> None:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.received.append(Received(method, request, metadata, context.time_remaining()))

    def _fail_if_told(self, context: Any) -> None:
        if self.failures:
            context.abort_with_status(self.failures.popleft().status())


@contextmanager
def running(gateway: FakeGateway, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Serve it on a free port of this machine; yields the address."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    add_GatewayServiceServicer_to_server(gateway, server)
    port = (
        server.add_insecure_port("127.0.0.1:0")
        if credentials is None
        else server.add_secure_port("127.0.0.1:0", credentials)
    )
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()
