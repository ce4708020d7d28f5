"""Two owners of one tenant's rows: a service that is scaled, a disk that is copied, or put back after a move."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
from support.refusals import refusal
from support.sharded_stack import ShardedStack, sharded_stack
from support.stack import document

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import query_pb2

TENANT = "tenant_c"


def copy_as(source: Path, target: Path, shard: str, *, epoch: int, tenant_id: str = TENANT) -> None:
    """What a tenant's move leaves behind: its cell at another shard, since a later epoch."""
    shutil.copytree(source, target)
    identity = json.loads((target / ".vecsec-store.json").read_text())
    store_id = "0" * 32
    identity |= {"store_id": store_id, "shard": shard, "placement_epoch": epoch, "epochs": {tenant_id: epoch}}
    (target / ".vecsec-store.json").write_text(json.dumps(identity))
    with closing(sqlite3.connect(target / tenant_id / "chroma.sqlite3")) as database, database:
        marks = {"store_id": store_id, "shard": shard, "epoch": epoch}
        database.executemany("INSERT OR REPLACE INTO vecsec_cell VALUES (?, ?)", marks.items())


async def refused_by(sharded: ShardedStack, shard: str) -> tuple[grpc.StatusCode, str]:
    grant = await sharded.stack.grant(sharded.admin(TENANT), TENANT)
    request = pb.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="a"), k=1)
    refused = await refusal(sharded.stubs[shard].SearchDocuments(request, timeout=30))
    return refused.code, refused.reason


async def test_threat_32_an_old_disk_that_is_put_back_is_not_answered_from(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        await sharded.stack.load(TENANT, document("before", "a passage"))
    copy_as(sharded.store("shard-0"), sharded.store("shard-1"), "shard-1", epoch=2)
    async with sharded_stack(tmp_path, epoch=3) as sharded:
        sharded.place(4, pinned={TENANT: "shard-0"})  # and even where the placement has it there
        await sharded.settled(4)
        await sharded.stack.load(TENANT, document("after", "a passage"))
        found = await sharded.stack.ids(sharded.admin(TENANT), TENANT)
        assert sorted(found) == ["after", "before"]
        assert await refused_by(sharded, "shard-0") == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_SHARD")


async def test_threat_32_of_two_copies_of_one_age_neither_is_believed(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        await sharded.stack.load(TENANT, document("before", "a passage"))
    copy_as(sharded.store("shard-0"), sharded.store("shard-1"), "shard-1", epoch=1)
    async with sharded_stack(tmp_path, epoch=2) as sharded:
        for shard in ("shard-0", "shard-1"):
            assert await refused_by(sharded, shard) == (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED")
        refused = await refusal(sharded.stack.load(TENANT, document("after", "a passage")))
        assert refused.message == (
            f"the store of tenant {TENANT!r} is on two shards; nothing was deleted; put aside the one that was copied"
        )


async def test_threat_32_a_service_that_is_scaled_beyond_the_placement_begins_nothing(tmp_path: Path) -> None:
    """Two of one name, each with a disk: the second is told by its first call that another store is meant."""
    async with sharded_stack(tmp_path, ["shard-0"], VECSEC_PEER_PROBE_SECONDS=0.1) as sharded:
        await sharded.stack.load(TENANT, document("before", "a passage"))
        store_id = (await sharded.describe("shard-0")).store_id
        sharded.ports = {**sharded.ports, "shard-0": sharded.ports["shard-1"]}
        await sharded.start("shard-0", CHROMA_PATH=tmp_path / "second")
        grant = await sharded.stack.grant(sharded.admin(TENANT), TENANT)
        request = pb.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="a"), k=1)
        call = sharded.stubs["shard-0"].SearchDocuments(request, metadata=(("x-vecsec-store", store_id),), timeout=30)
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
        assert refused.message == "another vector store answers here than the one that is meant; try again in a moment"
