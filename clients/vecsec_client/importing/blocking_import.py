"""Carries out an import for the blocking client."""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import grpc

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client.connection import new_request_id
from vecsec_client.errors import Unavailable, VecSecError
from vecsec_client.importing.batches import Batch
from vecsec_client.importing.session import ImportSession
from vecsec_client.results import ImportProgress
from vecsec_client.retrying import Deadline
from vecsec_client.tokens import TokenProvider, bearer_metadata
from vecsec_client.wire.error_details import from_rpc_error


def run_import(
    session: ImportSession, batches: Iterator[Batch], stream: "ImportStream", deadline: Deadline
) -> Iterator[ImportProgress]:
    """Do what the session says until every document is settled.

    Raises:
        VecSecError: when the session cannot go on, or not before the deadline.
    """
    try:
        while not session.is_finished:
            while session.wants_batch:
                session.add(next(batches, None))
            yield from session.settled()
            try:
                for request in session.requests():
                    stream.send(request)
                progress = session.answered(stream.receive()) if session.awaits_answer else None
            except VecSecError as error:
                stream.cancel()
                wait = session.failed(error)
                if not deadline.allows(wait):
                    raise
                time.sleep(wait)
                continue
            if progress is not None:
                yield progress
        stream.finish()
    except VecSecError as error:
        error.request_id = error.request_id or stream.request_id
        raise
    finally:
        stream.cancel()


class _Answers(Protocol):
    """The answers of an open stream."""

    def __next__(self) -> gateway_pb2.ImportDocumentsResponse: ...

    def cancel(self) -> bool: ...


class ImportStream:
    """The stream of an import, opened when something is first sent, and again after it was cancelled."""

    def __init__(self, stub: Callable[[], GatewayServiceStub], token: TokenProvider, deadline: Deadline) -> None:
        self._stub = stub
        self._token = token
        self._deadline = deadline
        self._request_id = new_request_id()
        self._is_sent = False
        self._requests: queue.SimpleQueue[gateway_pb2.ImportDocumentsRequest | None] = queue.SimpleQueue()
        self._call: _Answers | None = None

    @property
    def request_id(self) -> str:
        """Under which the services' logs have it; empty if nothing was sent."""
        return self._request_id if self._is_sent else ""

    def send(self, request: gateway_pb2.ImportDocumentsRequest) -> None:
        if self._call is None:
            metadata = bearer_metadata(self._token(), self._request_id)
            self._is_sent = True
            self._requests = queue.SimpleQueue()
            self._call = self._stub().ImportDocuments(
                iter(self._requests.get, None), timeout=self._deadline.remaining(), metadata=metadata
            )
        self._requests.put(request)

    def receive(self) -> gateway_pb2.ImportDocumentsResponse:
        if self._call is None:
            raise Unavailable("the import stream is not open")
        try:
            return next(self._call)
        except StopIteration:
            raise Unavailable("the service ended the import before it had answered every batch") from None
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._request_id) from error

    def finish(self) -> None:
        """Say that nothing more comes. Every batch is durable by now, so a failure of the ending changes nothing."""
        if self._call is not None:
            self._requests.put(None)
            try:
                next(self._call, None)
            except grpc.RpcError:
                self._call = None

    def cancel(self) -> None:
        """End the stream; what is unanswered may or may not have been stored."""
        self._requests.put(None)  # lets gRPC's sending thread go
        if self._call is not None:
            self._call.cancel()
            self._call = None
