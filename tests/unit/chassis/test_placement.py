"""Who is where: stable, fair, and little moved when a shard comes."""

from collections import Counter

from vecsec_chassis.placement.placement import Placement, Shard

TENANTS = [f"tenant_{number}" for number in range(3_000)]


def placement(*names: str, epoch: int = 1, **pinned: str) -> Placement:
    return Placement(epoch, tuple(Shard(name, f"{name}:50052") for name in names), pinned)


def owners(of: Placement) -> dict[str, str]:
    return {tenant_id: of.owner(tenant_id).name for tenant_id in TENANTS}


def test_every_shard_gets_its_share() -> None:
    counts = Counter(owners(placement("shard-0", "shard-1", "shard-2")).values())
    assert all(abs(count - 1_000) < 150 for count in counts.values()), counts


def test_a_shard_that_is_added_takes_its_share_and_nobody_else_moves() -> None:
    before, after = owners(placement("a", "b", "c")), owners(placement("a", "b", "c", "d"))
    moved = [tenant_id for tenant_id in TENANTS if before[tenant_id] != after[tenant_id]]
    assert {after[tenant_id] for tenant_id in moved} == {"d"}
    assert abs(len(moved) - len(TENANTS) / 4) < 120
    assert set(Counter(before[tenant_id] for tenant_id in moved)) == {"a", "b", "c"}, "it takes from all"


def test_a_shard_that_is_taken_away_leaves_its_tenants_to_all_others() -> None:
    before, after = owners(placement("a", "b", "c")), owners(placement("a", "b"))
    assert {before[tenant_id] for tenant_id in TENANTS if before[tenant_id] != after[tenant_id]} == {"c"}


def test_a_shard_that_is_draining_gets_no_new_tenant_as_if_it_were_gone() -> None:
    draining = Placement(2, (Shard("a", "a"), Shard("b", "b"), Shard("c", "c", is_draining=True)))
    assert owners(draining) == owners(placement("a", "b"))
    assert not draining.places_like(placement("a", "b", "c"))


def test_the_order_of_the_file_is_irrelevant() -> None:
    assert owners(placement("a", "b", "c")) == owners(placement("c", "a", "b"))
    assert placement("a", "b").places_like(placement("b", "a", epoch=7))


def test_addresses_place_nobody() -> None:
    elsewhere = Placement(1, (Shard("a", "elsewhere:1"), Shard("b", "elsewhere:2")))
    assert owners(elsewhere) == owners(placement("a", "b"))


def test_where_a_tenant_is_never_changes_between_versions() -> None:
    """Fixed values: another hash would move everybody at an upgrade."""
    shards = placement("shard-0", "shard-1", "shard-2")
    found = {tenant_id: shards.owner(tenant_id).name for tenant_id in ("tenant_a", "tenant_b", "acme", "globex")}
    assert found == {"tenant_a": "shard-2", "tenant_b": "shard-0", "acme": "shard-1", "globex": "shard-2"}


def test_a_pin_counts_before_the_hash() -> None:
    unpinned = placement("a", "b").owner("tenant_1").name
    other = "b" if unpinned == "a" else "a"
    assert placement("a", "b", tenant_1=other).owner("tenant_1").name == other
    assert not placement("a", "b", tenant_1=other).places_like(placement("a", "b"))
