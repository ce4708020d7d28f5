"""Which tenants are a shard's own: by their cells first, then by the placement, by neither while that is not sure."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from vecsec_chassis.domain.errors import RetrievalUnavailable, StoreDamaged, VecSecError, WrongShard
from vecsec_chassis.placement.placement import Placement, Shard
from vecsec_retrieval.shard.own_tenants import OwnTenants
from vecsec_retrieval.shard.survey import ShardWord, Survey, tenant_digest

NAMES = ("shard-0", "shard-1", "shard-2")


class Cells:
    """The list of a store's cells."""

    def __init__(self, store_id: str = "own", placement_epoch: int | None = None, **epochs: int) -> None:
        self.store_id = self.lasting_store_id = store_id
        self.noted = placement_epoch
        self.in_force = 1
        self._epochs = dict(epochs)

    @property
    def placement_epoch(self) -> int:
        """Unless the test says otherwise, whatever placement is in force was noted."""
        return self.in_force if self.noted is None else self.noted

    def epoch(self, tenant_id: str) -> int | None:
        return self._epochs.get(tenant_id)

    def epochs(self) -> dict[str, int]:
        return dict(self._epochs)

    def begin(self, tenant_id: str, epoch: int) -> None:
        self._epochs[tenant_id] = epoch


def placement(epoch: int = 1, names: tuple[str, ...] = NAMES[:2], **pinned: str) -> Placement:
    return Placement(epoch, tuple(Shard(name, name) for name in names), pinned)


def word(shard: str, epoch: int = 1, **cells: int) -> ShardWord:
    return ShardWord(shard, f"store of {shard}", epoch, {tenant_digest(name): since for name, since in cells.items()})


def own(cells: Cells, *words: ShardWord, by: Placement) -> OwnTenants:
    survey = Survey()
    for each in words:
        survey.note(each)
    cells.in_force = by.epoch
    return OwnTenants("shard-0", lambda: by, cells, survey)


def test_nothing_begins_by_a_placement_that_the_store_could_not_note() -> None:
    """As on a full disk: started again with an older file, this shard would not know that it went by a newer one."""
    tenants = own(Cells(placement_epoch=1), word("shard-1", 2), by=placement(2, acme="shard-0"))
    with pytest.raises(RetrievalUnavailable) as refused:
        tenants.demand("acme")
    assert refused.value.detail == "epoch 2; noted in the store is 1"
    assert tenants.placement_epoch == 1, "others are told of what is noted"


HERE, THERE = placement(acme="shard-0"), placement(acme="shard-1")


def test_a_tenant_that_is_placed_here_begins_here_once_the_others_have_told() -> None:
    own(Cells(), word("shard-1"), by=HERE).demand("acme")
    with pytest.raises(RetrievalUnavailable) as refused:
        own(Cells(), by=HERE).demand("acme")
    assert refused.value.detail == "no word by epoch 1 from shard-1"


def test_a_word_by_an_older_placement_is_not_enough() -> None:
    newer = placement(2, acme="shard-0")
    with pytest.raises(RetrievalUnavailable):
        own(Cells(), word("shard-1", 1), by=newer).demand("acme")
    own(Cells(), word("shard-1", 2), by=newer).demand("acme")
    own(Cells(), word("shard-1", 3), by=newer).demand("acme")


def test_a_shard_that_went_by_a_newer_placement_begins_nothing_by_an_older_one() -> None:
    with pytest.raises(RetrievalUnavailable) as refused:
        own(Cells(placement_epoch=2), word("shard-1", 2), by=HERE).demand("acme")
    assert refused.value.detail == "epoch 1; it went by 2 already"


def test_a_tenant_without_a_cell_is_its_shards() -> None:
    with pytest.raises(WrongShard) as refused:
        own(Cells(), by=THERE).demand("acme")
    assert refused.value.metadata == {"shard": "shard-1"}


@pytest.mark.parametrize("by", [HERE, THERE])
def test_the_cell_counts_before_the_placement(by: Placement) -> None:
    own(Cells(acme=1), by=by).demand("acme")
    with pytest.raises(WrongShard) as refused:
        own(Cells(), word("shard-1", acme=1), by=by).demand("acme")
    assert refused.value.metadata == {"shard": "shard-1"}


def test_of_two_cells_the_one_of_the_higher_epoch_counts() -> None:
    """As when the disk of a shard from which a tenant has moved is put back from a backup."""
    own(Cells(acme=3), word("shard-1", acme=2), by=THERE).demand("acme")
    with pytest.raises(WrongShard) as refused:
        own(Cells(acme=2), word("shard-1", acme=3), by=HERE).demand("acme")
    assert refused.value.metadata == {"shard": "shard-1"}
    with pytest.raises(StoreDamaged) as damaged:
        own(Cells(acme=2), word("shard-1", acme=2), by=HERE).demand("acme")
    assert damaged.value.message.startswith("the store of tenant 'acme' is on two shards; nothing was deleted")


def test_what_begins_is_told_to_others_already() -> None:
    tenants = own(Cells(), word("shard-1"), by=HERE)
    assert not tenants.cells()
    with tenants.beginning("acme"):
        assert tenants.cells() == {"acme": 1}
    assert not tenants.cells()


def test_a_shard_that_is_named_no_more_has_no_say() -> None:
    survey = Survey()
    survey.note(word("shard-1", acme=1))
    survey.keep_only(frozenset({"shard-2"}))
    assert survey.holder("acme") is None


def test_displaced_are_those_whose_cell_is_here_though_they_are_placed_elsewhere() -> None:
    tenants = own(Cells(acme=1, globex=1), by=placement(acme="shard-1", globex="shard-0"))
    assert tenants.displaced() == ["acme"]


class World(NamedTuple):
    """Two shards and one tenant: all that can become of them."""

    read: tuple[int, int] = (0, 1)
    """Which placement each has read last."""
    noted: tuple[int, int] = (0, 1)
    """And which newest one its store has noted."""
    words: tuple[tuple[int, int | None] | None, tuple[int, int | None] | None] = (None, None)
    """What each was told by the other one: by which placement, and since when it holds the tenant."""
    cells: tuple[int | None, int | None] = (None, None)
    """Since when each holds the tenant."""


PLACEMENTS = (
    placement(1, ("shard-0",)),
    placement(2, ("shard-0", "shard-1"), acme="shard-1"),
    placement(3, ("shard-0", "shard-1"), acme="shard-0"),
    placement(4, ("shard-0", "shard-1"), acme="shard-1"),
)


def tenants(world: World, number: int) -> OwnTenants:
    """A shard as it is in this world."""
    cells = Cells(NAMES[number], placement_epoch=PLACEMENTS[world.noted[number]].epoch)
    since = world.cells[number]
    if since is not None:
        cells.begin("acme", since)
    survey, told = Survey(), world.words[number]
    if told is not None:
        by, other_since = told
        held = {} if other_since is None else {"acme": other_since}
        survey.note(word(NAMES[1 - number], PLACEMENTS[by].epoch, **held))
    return OwnTenants(NAMES[number], lambda: PLACEMENTS[world.read[number]], cells, survey)


def put(values: tuple[Any, Any], number: int, value: object) -> tuple[Any, Any]:
    return (value, values[1]) if number == 0 else (values[0], value)


def steps(world: World) -> Iterator[World]:
    """All that may happen next."""
    for number in (0, 1):
        for read in range(number, len(PLACEMENTS)):  # the first one names but one shard
            if read > world.read[number]:
                yield world._replace(
                    read=put(world.read, number, read),
                    noted=put(world.noted, number, max(read, world.noted[number])),
                )
            # It starts again, perhaps with an older file, and knows nothing of the others.
            yield world._replace(
                read=put(world.read, number, read),
                noted=put(world.noted, number, max(read, world.noted[number])),
                words=put(world.words, number, None),
            )
        other = 1 - number
        yield world._replace(words=put(world.words, number, (world.read[other], world.cells[other])))
        if world.cells[number] is None:
            try:
                with tenants(world, number).beginning("acme"):
                    began = PLACEMENTS[world.read[number]].epoch
                    yield world._replace(cells=put(world.cells, number, began))
            except VecSecError:
                continue


def test_in_whatever_order_files_are_read_and_words_come_there_is_one_owner() -> None:
    """Every world that can come about: shards read any placement whenever they like, ask whenever they like, and start
    again with an older file. No two of them ever hold the tenant, and each of them can."""
    seen = {World()}
    todo = deque(seen)
    while todo:
        world = todo.popleft()
        assert None in world.cells, world
        for after in steps(world):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    assert {sum(cell is not None for cell in world.cells) for world in seen} == {0, 1}
    assert any(world.cells[0] for world in seen)
    assert any(world.cells[1] for world in seen)


def test_somebody_owns_it_once_all_have_read_and_asked() -> None:
    by = placement(1, NAMES, acme="shard-2")
    shards = {name: OwnTenants(name, lambda: by, Cells(name)) for name in NAMES}
    for name, other in itertools.permutations(NAMES, 2):
        shards[name].survey.note(word(other))
    shards["shard-2"].demand("acme")
