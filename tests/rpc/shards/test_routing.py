"""Tenants are answered by their shard, through the gateway, live when the placement changes; never by another one."""

from pathlib import Path

import grpc
import pytest
from support.certificates import Authority
from support.refusals import read_refusal, refusal
from support.sharded_stack import NAMES, TENANTS, ShardedStack, sharded_stack
from support.stack import document
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec.type.v1 import query_pb2


async def load_all(sharded: ShardedStack) -> None:
    for tenant_id in TENANTS:
        await sharded.stack.load(tenant_id, document(f"of_{tenant_id}", "a passage"))


async def found(sharded: ShardedStack) -> dict[str, list[str]]:
    return {tenant_id: await sharded.stack.ids(sharded.admin(tenant_id), tenant_id) for tenant_id in TENANTS}


EVERYTHING = {tenant_id: [f"of_{tenant_id}"] for tenant_id in TENANTS}


def cells(sharded: ShardedStack, name: str) -> set[str]:
    return {each.name for each in sharded.store(name).iterdir() if each.is_dir() and not each.name.startswith(".")}


async def ask_directly(sharded: ShardedStack, shard: str, tenant_id: str, token: str | None = None) -> None:
    grant = await sharded.stack.grant(token or sharded.admin(tenant_id), tenant_id)
    request = pb.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="a"), k=1)
    await sharded.stubs[shard].SearchDocuments(request, timeout=30)


async def test_each_tenant_is_stored_and_found_at_its_shard_alone(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path) as sharded:
        await load_all(sharded)
        assert await found(sharded) == EVERYTHING
        for name in NAMES:
            expected = {tenant_id for tenant_id in TENANTS if sharded.owner(tenant_id) == name}
            assert cells(sharded, name) == expected
            assert expected, "both have some"


async def test_a_shard_refuses_a_tenant_of_another_and_names_it(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path) as sharded:
        tenant_id = sharded.tenant_of("shard-1")
        refused = await refusal(ask_directly(sharded, "shard-0", tenant_id))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_SHARD")
        assert b"shard-1" in refused.details
        assert not cells(sharded, "shard-0")


async def test_who_may_not_enter_learns_nothing_of_shards(tmp_path: Path) -> None:
    """Authorisation comes first: without a grant that verifies all tenants and all shards look the same."""
    async with sharded_stack(tmp_path) as sharded:
        for name in NAMES:
            request = pb.SearchDocumentsRequest(grant="not.a.grant", query=query_pb2.Query(text="a"), k=1)
            refused = await refusal(sharded.stubs[name].SearchDocuments(request, timeout=30))
            assert refused.reason == "INVALID_GRANT"
        tenant_id = sharded.tenant_of("shard-1")
        grant = await sharded.stack.grant(sharded.admin(tenant_id), tenant_id)
        deletion = pb.DeleteDocumentsRequest(grant=grant, document_ids=["x"])  # a grant to read
        assert (await refusal(sharded.stubs["shard-0"].DeleteDocuments(deletion))).reason == "INVALID_GRANT"
        foreign = sharded.stack.issuer.token("tenant_a", "guest", "PUBLIC", "mallory")
        assert (await refusal(sharded.stack.search(foreign, tenant_id))).reason == "ACCESS_DENIED"


async def test_a_tenant_with_a_cell_stays_where_it_is_when_a_shard_comes(tmp_path: Path) -> None:
    """One shard has everybody; a second comes and would have some. Nobody misses a row, and nobody has two cells."""
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        await load_all(sharded)
        sharded.place(2)
        await sharded.start("shard-1")
        await sharded.settled(2)
        assert {sharded.owner(tenant_id) for tenant_id in TENANTS} == set(NAMES)
        for _ in range(3):
            assert await found(sharded) == EVERYTHING
        for tenant_id in TENANTS:
            await sharded.stack.load(tenant_id, document("later", "another passage"))
        assert cells(sharded, "shard-0") == set(TENANTS)
        assert not cells(sharded, "shard-1")
        described = await sharded.describe("shard-0")
        assert described.displaced_count == sum(sharded.owner(tenant_id) == "shard-1" for tenant_id in TENANTS)
        metrics = sharded.stack.metrics(sharded.stack.gateway_service)
        assert metrics["vecsec_wrong_shard_total"] > 0, "asked where it is placed, it was found where it is"
        assert not [name for name in metrics if name.startswith("vecsec_mock_fallback_total") and metrics[name]]


async def test_a_new_tenant_begins_where_the_new_placement_has_it(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        sharded.place(2)
        await sharded.start("shard-1")
        await sharded.settled(2)
        tenant_id = sharded.tenant_of("shard-1")
        await sharded.stack.load(tenant_id, document("first", "a passage"))
        assert cells(sharded, "shard-1") == {tenant_id}
        assert not cells(sharded, "shard-0")
        assert await sharded.stack.ids(sharded.admin(tenant_id), tenant_id) == ["first"]


async def test_nothing_begins_while_another_shard_may_hold_it(tmp_path: Path) -> None:
    """Nobody knows what the other shard holds: a tenant without a cell here is not said to be empty."""
    async with sharded_stack(tmp_path, start=False) as sharded:
        tenant_id = sharded.tenant_of("shard-0")
        for call in (
            sharded.stack.load(tenant_id, document("first", "a passage")),
            sharded.stack.search(sharded.admin(tenant_id), tenant_id),
        ):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
            assert refused.message == (
                "it is not known yet whether another shard holds this tenant; try again in a moment"
            )
            assert refused.retry_seconds is not None
        assert not cells(sharded, "shard-0")
        await sharded.start("shard-1")
        await sharded.settled(1)
        await sharded.stack.load(tenant_id, document("first", "a passage"))
        assert cells(sharded, "shard-0") == {tenant_id}


async def test_an_import_goes_on_at_the_shard_that_has_the_tenant(tmp_path: Path) -> None:
    """All batches, though the gateway sent the first one to the wrong shard."""
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        tenant_id = next(each for each in TENANTS if (sharded.place(9), sharded.owner(each))[1] == "shard-1")
        sharded.place(10, ["shard-0"])
        await sharded.stack.load(tenant_id, document("first", "a passage"))
        sharded.place(11)
        await sharded.start("shard-1")
        await sharded.settled(11)
        gateway = sharded.stack.metrics(sharded.stack.gateway_service)
        batches = [
            gateway_pb2.ImportDocumentsRequest(tenant_id=tenant_id, documents=[document(f"row_{number}", "text")])
            for number in range(7)
        ]
        metadata = (("authorization", f"Bearer {sharded.admin(tenant_id)}"),)
        numbers = [
            answer.total_stored_count
            async for answer in sharded.stack.gateway.ImportDocuments(iter(batches), metadata=metadata, timeout=60)
        ]
        assert len(numbers) == 7
        found = await sharded.stack.ids(sharded.admin(tenant_id), tenant_id)
        assert sorted(found) == ["first", *(f"row_{number}" for number in range(7))]
        after = sharded.stack.metrics(sharded.stack.gateway_service)
        assert after["vecsec_wrong_shard_total"] == gateway["vecsec_wrong_shard_total"] + 1


async def test_a_placement_that_swaps_two_addresses_answers_nobody_wrongly(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path) as sharded:
        await load_all(sharded)
        right = dict(sharded.ports)
        sharded.ports = {**right, "shard-0": right["shard-1"], "shard-1": right["shard-0"]}
        sharded.place(2)

        def epoch() -> float:
            return sharded.stack.metrics(sharded.stack.gateway_service)["vecsec_placement_epoch"]

        await until(lambda: epoch() == 2)
        for tenant_id in TENANTS:
            request = gateway_pb2.SearchDocumentsRequest(tenant_id=tenant_id, query=query_pb2.Query(text="a"), k=1)
            refused = await refusal(
                sharded.stack.gateway.SearchDocuments(
                    request, metadata=(("authorization", f"Bearer {sharded.admin(tenant_id)}"),), timeout=30
                )
            )
            assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_SHARD"), "no mock"
            assert refused.retry_seconds is not None
        sharded.ports = right
        sharded.place(3)

        async def is_right_again() -> bool:
            try:
                return await found(sharded) == EVERYTHING
            except grpc.aio.AioRpcError:
                return False

        await until(is_right_again)


@pytest.mark.parametrize("include_cells", [True, False])
async def test_what_a_shard_tells_names_no_tenant(tmp_path: Path, include_cells: bool) -> None:
    async with sharded_stack(tmp_path) as sharded:
        await load_all(sharded)
        told = await sharded.stubs["shard-0"].DescribeShard(
            pb.DescribeShardRequest(include_cells=include_cells, include_sizes=True)
        )
        assert told.shard == "shard-0"
        assert told.tenant_count > 0
        assert told.byte_count > 0
        assert len(told.cells) == (told.tenant_count if include_cells else 0)
        text = told.SerializeToString()
        assert not [tenant_id for tenant_id in TENANTS if tenant_id.encode() in text]


def refused(sharded: ShardedStack, shard: str) -> bool:
    return sharded.stack.metrics(sharded.services[shard])["vecsec_placement_file_refused"] == 1


async def test_a_shard_is_taken_away_only_once_it_was_drained_and_holds_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else its tenants would begin anew elsewhere, empty."""
    async with sharded_stack(tmp_path) as sharded:
        kept = sharded.tenant_of("shard-1")
        await sharded.stack.load(kept, document("row", "a passage"))
        sharded.place(2, ["shard-0"])
        await until(lambda: refused(sharded, "shard-0"))
        assert "shard 'shard-1' is gone from it without having been drained" in capfd.readouterr().out
        await until(lambda: sharded.stack.metrics(sharded.stack.gateway_service)["vecsec_placement_epoch"] == 2)

        async def is_refused() -> bool:
            try:
                assert await sharded.stack.ids(sharded.admin(kept), kept) == ["row"], "not an empty answer"
            except grpc.aio.AioRpcError as error:
                return read_refusal(error).reason == "WRONG_SHARD"
            return False

        await until(is_refused)
        assert not cells(sharded, "shard-0")
        sharded.place(3, draining=("shard-1",))
        await sharded.settled(3)
        assert await sharded.stack.ids(sharded.admin(kept), kept) == ["row"]
        other = next(each for each in TENANTS if each != kept)
        await sharded.stack.load(other, document("row", "a passage"))
        assert cells(sharded, "shard-0") == {other}, "it takes no new ones"
        sharded.place(4, ["shard-0"])
        await until(lambda: refused(sharded, "shard-0"))
        assert "shard 'shard-1' is gone from it and still holds 1 tenants" in capfd.readouterr().out
        sharded.place(5, ["shard-0"], lost=["shard-1"])
        await until(lambda: not refused(sharded, "shard-0"))
        await sharded.stack.load(kept, document("anew", "a passage"))
        assert cells(sharded, "shard-0") == {other, kept}


async def test_a_shard_that_was_drained_and_is_empty_goes(tmp_path: Path) -> None:
    async with sharded_stack(tmp_path) as sharded:
        sharded.place(2, draining=("shard-1",))
        await sharded.settled(2)
        sharded.place(3, ["shard-0"])
        await until(lambda: sharded.stack.metrics(sharded.services["shard-0"])["vecsec_placement_epoch"] == 3)
        await sharded.stop("shard-1")
        for tenant_id in TENANTS:
            await sharded.stack.load(tenant_id, document("row", "a passage"))
        assert cells(sharded, "shard-0") == set(TENANTS)


async def test_with_tls_shards_ask_one_another_as_themselves_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with sharded_stack(tmp_path, authority=authority) as sharded:
        await load_all(sharded)
        assert await found(sharded) == EVERYTHING
        for name in NAMES:
            assert cells(sharded, name) == {each for each in TENANTS if sharded.owner(each) == name}
        credentials = authority.credentials("spiffe://vecsec/retrieval")
        async with grpc.aio.secure_channel(sharded.address("shard-0"), credentials) as channel:
            stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
            assert (await stub.DescribeShard(pb.DescribeShardRequest(include_cells=True), timeout=30)).cells
            tenant_id = sharded.tenant_of("shard-0")
            grant = await sharded.stack.grant(sharded.admin(tenant_id), tenant_id)
            request = pb.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="a"), k=1)
            assert (await refusal(stub.SearchDocuments(request, timeout=30))).reason == "ACCESS_DENIED"
