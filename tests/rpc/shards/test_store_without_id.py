"""A store of before there were ids, on a disk that takes no writes: the id that it will have is told to nobody yet."""

import os
import subprocess
from pathlib import Path

import grpc
import pytest
from support.stack import document, running_stack
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.rpc.server import RunningService
from vecsec_retrieval.stores.folder.store_identity import IDENTITY_FILE, read_identity


async def told_id(service: RunningService) -> str:
    async with grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
        stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
        return (await stub.DescribeShard(pb.DescribeShardRequest(), timeout=30)).store_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
async def test_an_id_that_is_not_on_the_disk_is_told_to_nobody(tmp_path: Path) -> None:
    """Each start makes up another one: the gateway would take it for that of another store."""
    store = tmp_path / "chroma"
    async with running_stack(tmp_path, CHROMA_PATH=store) as stack:
        await stack.load("tenant_a", document("first", "a passage", "PUBLIC"))
    (store / IDENTITY_FILE).unlink()
    subprocess.run(["mount", "--bind", store, store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", store], check=True)
        async with running_stack(tmp_path, CHROMA_PATH=store, VECSEC_PEER_PROBE_SECONDS=0.05) as stack:
            assert await stack.ids(stack.issuer.token(), "tenant_a", "a passage") == ["first"]
            assert await told_id(stack.retrieval_service) == ""
            subprocess.run(["mount", "-o", "remount,rw,bind", store], check=True)
            await stack.load("tenant_b", document("other", "a passage", "PUBLIC", ("finance",)))

            async def is_told() -> str:
                return await told_id(stack.retrieval_service)

            await until(is_told, seconds=30)
            identity = read_identity(store)
            assert identity is not None
            assert await told_id(stack.retrieval_service) == identity.store_id
            assert await stack.ids(stack.issuer.token(), "tenant_a", "a passage") == ["first"]
    finally:
        subprocess.run(["umount", store], check=True)
