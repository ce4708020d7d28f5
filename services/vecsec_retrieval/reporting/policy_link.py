"""The policy service over gRPC, for reports alone. They are few, so each has a connection of its own: it is made with
the certificates in force, and finds a replica anew."""

from collections.abc import Sequence

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from vecsec_chassis.tls.credentials import channel_credentials
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_retrieval.visibility.grant_uses import GrantUse

_SECONDS = 5.0
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


class NotTold(Exception):
    """The policy service did not take a report, or nobody knows whether it did; the message says why."""


class PolicyLink:
    """Where reports go."""

    def __init__(self, address: str, certificates: WatchedCertificates | None) -> None:
        self._address = address
        self._certificates = certificates

    async def tell(self, uses: Sequence[GrantUse]) -> frozenset[str]:
        """Report uses; the ids of those that were refused.

        Raises:
            NotTold: if it cannot be known that the rest is on record.
        """
        request = policy_pb2.ReportForeignAccessRequest(uses=[_message(use) for use in uses])
        try:
            async with self._channel() as channel:
                stub = PolicyServiceStub(channel)
                answer = await stub.ReportForeignAccess(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotTold(f"{error.code().name}: {error.details()}") from error
        return frozenset(answer.refused_use_ids)

    def _channel(self) -> grpc.aio.Channel:
        if self._certificates is None:
            return grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        credentials = channel_credentials(self._certificates.current)
        return grpc.aio.secure_channel(self._address, credentials, options=_OPTIONS)


def _message(use: GrantUse) -> policy_pb2.GrantUse:
    return policy_pb2.GrantUse(
        use_id=use.use_id,
        grant=use.grant,
        call_count=use.calls,
        row_count=use.rows,
        start_time=_timestamp(use.start),
        end_time=_timestamp(use.end),
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(int(seconds * 1000))
    return timestamp
