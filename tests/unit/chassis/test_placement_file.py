"""The placement file: what is refused, in which words, and what stays in force meanwhile."""

from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeter

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.placement_file import load_placement
from vecsec_chassis.placement.watched_placement import WatchedPlacement

GOOD = """
epoch: 3
shards:
  - {name: shard-0, address: "retrieval-0:50052"}
  - {name: shard-1, address: "retrieval-1:50052"}
pinned: {acme: shard-1}
"""

BAD = {
    "": "epoch: is missing",
    "epoch: 1\nshards: []": "shards: names no shard",
    "epoch: 1": "shards: is missing",
    "epoch: 0\nshards: [{name: a, address: b}]": "epoch: Input should be greater than or equal to 1",
    "epoch: true\nshards: [{name: a, address: b}]": "epoch: Input should be a valid integer",
    "epoch: 1\nepoch: 2\nshards: []": "'epoch' is written twice, again in line 2",
    "epoch: 1\nshards: [{name: a, address: x}, {name: a, address: y}]": "shard 'a' is named twice",
    "epoch: 1\nshards: [{name: a, address: x}, {name: b, address: x}]": "shards 'a' and 'b' have one address, 'x'",
    "epoch: 1\nshards: [{name: a, address: x}]\npinned: {acme: b}": "tenant 'acme' is pinned to shard 'b', which",
    "epoch: 1\nshards: [{name: a, address: x}]\npinned: {acme: a, acme: a}": "'acme' is written twice",
    "epoch: 1\nshards: [{name: a, address: x}]\npinned: {../x: a}": "pinned: '../x' is no tenant id",
    "epoch: 1\nshards: [{name: a, address: x, draining: true}]": "all of them are draining",
    "epoch: 1\nshards: [{name: a, address: x}, {name: b, address: y, draining: true}]\npinned: {acme: b}": (
        "tenant 'acme' is pinned to shard 'b', which is draining"
    ),
    "epoch: 1\nshards: [{name: a, address: x}]\nlost: [a]": "shard 'a' is lost and among the shards",
    "epoch: 1\nshards: [{name: A_b, address: x}]": "shard 'A_b': a shard's name is small letters",
    "epoch: 1\nshards: [{name: a, address: ''}]": "shards.0.address: String should have at least 1 character",
    "epoch: 1\nshards: [{name: a}]": "shards.0.address: is missing",
    "epoch: 1\nshards: [{name: a, address: x, weight: 2}]": "shards.0.weight: is no field of a placement",
    "epoch: [": "not YAML: ",
    "[1, 2": "not YAML: ",
    "[1, 2]": "Input should be a valid dictionary",
    "[" * 5_000: "",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "placement.yaml"
    path.write_text(GOOD)
    return path


def replace(file: Path, text: str) -> None:
    aside = file.with_suffix(".new")
    aside.write_text(text)
    aside.replace(file)


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_what_is_wrong_is_told_in_one_line(file: Path, text: str, reason: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load_placement(file)
    told = str(refused.value)
    assert told.startswith(f"VECSEC_PLACEMENT_FILE={file}: ")
    assert reason in told
    assert "\n" not in told


def test_a_good_one_says_who_is_where(file: Path) -> None:
    placement = load_placement(file)
    assert placement.epoch == 3
    assert [(shard.name, shard.address) for shard in placement.shards] == [
        ("shard-0", "retrieval-0:50052"),
        ("shard-1", "retrieval-1:50052"),
    ]
    assert placement.owner("acme").name == "shard-1"


def test_a_file_that_is_not_there_keeps_a_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"placement\.yaml: No such file"):
        load_placement(tmp_path / "placement.yaml")


async def watch(watched: WatchedPlacement) -> Placement:
    """Look until the file has come to rest."""
    for _ in range(3):
        await watched.look()
    return watched.current


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *BAD.items(),
        (GOOD.replace("acme", "globex"), "epoch 3 is not above 3, that of the placement in force"),
        (GOOD.replace("epoch: 3", "epoch: 2"), "write 4"),
        (GOOD.replace("name: shard-1", "name: shard-2").replace("acme: shard-1", "acme: shard-2"), "epoch 3 is not"),
    ],
)
async def test_a_bad_change_is_told_and_the_last_good_one_stays(
    file: Path, text: str, reason: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = WatchedPlacement(file, NoOpMeter("test"))
    before = watched.current
    replace(file, text)
    assert await watch(watched) is before
    told = capsys.readouterr().out + caplog.text
    assert "changed placement refused, the last good one stays" in told
    assert reason in told


async def test_a_file_that_goes_away_changes_nothing(file: Path) -> None:
    watched = WatchedPlacement(file, NoOpMeter("test"))
    before = watched.current
    file.unlink()
    assert await watch(watched) is before


async def test_a_good_change_is_in_force_and_told(file: Path) -> None:
    watched = WatchedPlacement(file, NoOpMeter("test"))
    heard = list[int]()
    watched.on_change(lambda: heard.append(watched.current.epoch))
    replace(file, GOOD.replace("epoch: 3", "epoch: 4").replace("acme: shard-1", "acme: shard-0"))
    assert (await watch(watched)).owner("acme").name == "shard-0"
    assert heard == [4]


async def test_addresses_may_change_under_the_same_epoch(file: Path) -> None:
    watched = WatchedPlacement(file, NoOpMeter("test"))
    replace(file, GOOD.replace("retrieval-1:50052", "elsewhere:50052"))
    found = (await watch(watched)).shard("shard-1")
    assert found is not None
    assert found.address == "elsewhere:50052"


async def test_a_link_that_is_swapped_is_seen_as_on_kubernetes(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"data-{number}").mkdir()
        (tmp_path / f"data-{number}" / "placement.yaml").write_text(GOOD.replace("epoch: 3", f"epoch: {number}"))
    link = tmp_path / "data"
    link.symlink_to("data-1")
    watched = WatchedPlacement(link / "placement.yaml", NoOpMeter("test"))
    (tmp_path / "data-new").symlink_to("data-2")
    (tmp_path / "data-new").replace(link)
    assert (await watch(watched)).epoch == 2
