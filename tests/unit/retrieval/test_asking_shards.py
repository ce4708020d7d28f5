"""How shards ask each other: those without a word often, for little; the others seldom; none for nothing."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.metrics import NoOpMeter
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.placement.placement import Placement, Shard
from vecsec_retrieval.shard.own_tenants import OwnTenants
from vecsec_retrieval.shard.question_times import LONGEST_PAUSE_SECONDS, REFRESH_SECONDS, QuestionTimes
from vecsec_retrieval.shard.running_shard import running_shard
from vecsec_retrieval.shard.survey import tenant_digest
from vecsec_retrieval.shard.told_cells import ToldCells
from vecsec_retrieval.stores.folder.store_identity import ListedCells, new_identity
from vecsec_retrieval.use_cases.describe_shard import ShardDescriber

_ALONE = Placement(1, (Shard("shard-0", "localhost:1"),))


class Other(retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """Another shard, which goes by some placement, or does not answer at all."""

    def __init__(self, name: str, epoch: int = 1) -> None:
        self.name, self.epoch = name, epoch
        self.is_down = False
        self.questions = 0
        self.questions_for_cells = 0

    async def DescribeShard(self, request: pb.DescribeShardRequest, context: Any) -> pb.DescribeShardResponse:
        self.questions += 1
        self.questions_for_cells += request.include_cells
        if self.is_down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        held = pb.ShardCell(tenant_digest=tenant_digest("held"), epoch=1)
        return pb.DescribeShardResponse(
            shard=self.name,
            store_id=f"store of {self.name}",
            placement_epoch=self.epoch,
            cells=[held] if request.include_cells else [],
        )

    async def serve(self, stack: AsyncExitStack) -> str:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        return f"127.0.0.1:{port}"


class Store:
    """A store without cells."""

    store_id = lasting_store_id = "own"
    placement_epoch = 0
    known_shards: frozenset[str] = frozenset()

    def epoch(self, tenant_id: str) -> int | None:
        return None

    def epochs(self) -> dict[str, int]:
        return {}

    def note_placement(self, shard: str, epoch: int, known_shards: Collection[str]) -> None:
        self.placement_epoch, self.known_shards = epoch, frozenset(known_shards)


def placed(file: Path, epoch: int, addresses: dict[str, str]) -> None:
    shards = ", ".join(f"{{name: {name}, address: '{address}'}}" for name, address in addresses.items())
    file.with_suffix(".new").write_text(f"epoch: {epoch}\nshards: [{shards}]\n")
    file.with_suffix(".new").replace(file)


async def asking(stack: AsyncExitStack, file: Path) -> OwnTenants:
    shard = await stack.enter_async_context(running_shard("shard-0", file, Store(), NoOpMeter("test"), None))
    await stack.enter_async_context(shard.others.being_asked())
    return shard.tenants


async def test_one_that_goes_by_an_older_placement_is_not_asked_for_its_cells_again_and_again(tmp_path: Path) -> None:
    slow, file = Other("shard-1", epoch=1), tmp_path / "placement.yaml"
    async with AsyncExitStack() as stack:
        placed(file, 2, {"shard-0": "localhost:1", "shard-1": await slow.serve(stack)})
        tenants = await asking(stack, file)
        assert slow.questions_for_cells == 1
        assert tenants.survey.holder("held"), "what it holds is known from the start"
        await until(lambda: slow.questions >= 6)
        assert slow.questions_for_cells == 1
        assert tenants.missing == ["shard-1"]
        slow.epoch = 2
        await until(lambda: not tenants.missing)
        assert slow.questions_for_cells == 2


async def test_while_one_is_down_the_others_are_left_alone(tmp_path: Path) -> None:
    well, down, file = Other("shard-1"), Other("shard-2"), tmp_path / "placement.yaml"
    down.is_down = True
    async with AsyncExitStack() as stack:
        addresses = {"shard-0": "localhost:1", "shard-1": await well.serve(stack), "shard-2": await down.serve(stack)}
        placed(file, 1, addresses)
        tenants = await asking(stack, file)
        asked = well.questions
        await until(lambda: down.questions >= 4)
        assert well.questions == asked
        assert tenants.missing == ["shard-2"]
        down.is_down = False
        await until(lambda: not tenants.missing)
        asked = down.questions
        placed(file, 2, addresses)
        well.epoch = down.epoch = 2
        await until(lambda: tenants.placement_epoch == 2 and not tenants.missing)
        assert down.questions > asked, "a new placement is asked about at once"


def test_who_does_not_answer_is_asked_less_and_less_often() -> None:
    times = QuestionTimes()
    pauses = [times.pause(has_answered=False, is_missing=True) for _ in range(6)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert times.pause(has_answered=True, is_missing=True) == 0.2
    assert times.pause(has_answered=False, is_missing=True) == 0.2
    assert times.pause(has_answered=False, is_missing=False) == REFRESH_SECONDS, "what it told still counts"


async def test_the_answer_is_worked_out_once_for_each_change(tmp_path: Path) -> None:
    names = [f"tenant_{number}" for number in range(20_000)]
    listed = ListedCells(tmp_path, new_identity(names), is_on_disk=True)
    listed.note_placement("shard-0", 1, ["shard-0"])
    tenants = OwnTenants("shard-0", lambda: _ALONE, listed)
    describer = ShardDescriber(tenants, lambda: "own", None)
    first = (await describer.describe(include_cells=True, include_sizes=False)).cells
    assert first == {tenant_digest(name): 0 for name in names}
    assert list(first) == sorted(first), "the order tells nothing"
    assert (await describer.describe(include_cells=True, include_sizes=False)).cells is first
    listed.add("another", epoch=1)
    later = (await describer.describe(include_cells=True, include_sizes=False)).cells
    assert later == {**first, tenant_digest("another"): 1}
    with tenants.beginning("about to be"):
        told = (await describer.describe(include_cells=True, include_sizes=False)).cells
        assert told == {**later, tenant_digest("about to be"): 1}
    assert (await describer.describe(include_cells=True, include_sizes=False)).cells == later


def test_what_is_gone_is_told_no_more() -> None:
    told = ToldCells()
    assert told.of({"a": 1, "b": 2}) == {tenant_digest("a"): 1, tenant_digest("b"): 2}
    assert told.of({"b": 3}) == {tenant_digest("b"): 3}
    assert told.of({}) == {}
