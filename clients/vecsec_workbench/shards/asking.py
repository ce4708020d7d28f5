"""What each shard of a placement says of itself."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from vecsec_chassis.placement.placement import Placement, Shard
from vecsec_cli.local.service_channels import open_channel, service_credentials
from vecsec_client.wire.error_details import from_rpc_error

_ANSWER_SECONDS = 30.0
"""Rows that were written since somebody asked are counted."""


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard; as `--json` prints it."""

    shard: str
    address: str
    problem: str = ""
    """What is wrong with it; empty if nothing."""
    placement_epoch: int = 0
    tenants: int = 0
    displaced: int = 0
    """Tenants that are here though the placement has them elsewhere."""
    rows: int = 0
    bytes: int = 0


def ask_all(placement: Placement, settings: Mapping[str, str]) -> list[ShardStatus]:
    """Ask all shards at once, with the services' own certificates if TLS is set.

    Raises:
        CommandFailure: if those cannot be read.
    """
    credentials = service_credentials(settings)
    with ThreadPoolExecutor(max_workers=len(placement.shards)) as threads:
        found = list(threads.map(lambda shard: _ask(shard, credentials), placement.shards))
    return [_compared(each, placement) for each in found]


def _ask(shard: Shard, credentials: grpc.ChannelCredentials | None) -> ShardStatus:
    with open_channel(shard.address, credentials) as channel:
        try:
            answer = RetrievalServiceStub(channel).DescribeShard(
                pb.DescribeShardRequest(include_sizes=True), timeout=_ANSWER_SECONDS
            )
        except grpc.RpcError as error:
            return ShardStatus(shard.name, shard.address, _reason(error))
    problem = "" if answer.shard == shard.name else f"answers as shard {answer.shard!r}"
    return ShardStatus(
        shard.name,
        shard.address,
        problem,
        placement_epoch=answer.placement_epoch,
        tenants=answer.tenant_count,
        displaced=answer.displaced_count,
        rows=answer.row_count,
        bytes=answer.byte_count,
    )


def _reason(error: grpc.RpcError) -> str:
    code = from_rpc_error(error, request_id="").code
    return "no answer" if code is grpc.StatusCode.UNAVAILABLE else f"no answer: {code.name}"


def _compared(status: ShardStatus, placement: Placement) -> ShardStatus:
    """With word of a placement that the shard has not read."""
    if status.problem or status.placement_epoch == placement.epoch:
        return status
    problem = f"goes by epoch {status.placement_epoch}, the file says {placement.epoch}"
    return ShardStatus(
        status.shard,
        status.address,
        problem,
        placement_epoch=status.placement_epoch,
        tenants=status.tenants,
        displaced=status.displaced,
        rows=status.rows,
        bytes=status.bytes,
    )
