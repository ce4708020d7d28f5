"""The power is cut right after an acknowledgement, and in the middle of a write."""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.children import Child, child
from faults.conftest import Note
from faults.extent import POWER_CUTS
from faults.power import copy_device, make_device, mounted
from faults.writer import LOCKSTEP, ONCE, UNSYNCED

pytestmark = [pytest.mark.slow, pytest.mark.loop, pytest.mark.timeout(1_800)]

TENANT = "tenant_a"
SEED = 7
KINDS = ("import", "replace+forget", "delete", "replace")
MOST_OPERATIONS = 2_000


class Cut:
    """A copy of the device, and what the process had acknowledged by then."""

    def __init__(self, device: Path, number: int, writer: Child) -> None:
        self.device = device.with_name(f"cut-{number}")
        copy_device(device, self.device)
        last = writer.lines("done")[-1]
        self.done, self.kind = int(last[1]), last[2]

    def is_proof(self, unsynced: Path, folder: Path) -> bool:
        """Whether what was not synced is missing in the copy."""
        with mounted(self.device, folder):
            copied = folder / unsynced.name
            return not copied.is_file() or copied.read_bytes() != UNSYNCED


def test_nothing_acknowledged_is_lost_by_a_power_cut(tmp_path: Path, note: Note) -> None:
    chance = random.Random(SEED)
    device, folder, again = tmp_path / "device", tmp_path / "mounted", tmp_path / "after"
    make_device(device)
    proven: Counter[str] = Counter()
    with (
        mounted(device, folder),
        child(
            "faults.writer",
            folder / "chroma",
            TENANT,
            SEED,
            0,
            LOCKSTEP,
            folder=tmp_path / "writer",
            stdin=subprocess.PIPE,
        ) as writer,
    ):
        writer.wait_for("found")
        cuts = 0
        for number in range(1, MOST_OPERATIONS):
            if cuts == POWER_CUTS:
                break
            unsynced = folder / f"unsynced-{number}"
            go_on(writer, unsynced)
            in_the_middle = cuts % len(KINDS) == 3 and number > 1
            if in_the_middle:
                time.sleep(chance.uniform(0, 0.15))
            else:
                kind = writer.wait_for("done", number)[2]
                if kind != KINDS[cuts % len(KINDS)]:
                    unsynced.unlink()
                    continue
            # A process that is stopped writes nothing while the copy is made; what the kernel does of it is done.
            writer.process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            cut = Cut(device, cuts, writer)
            writer.process.send_signal(signal.SIGCONT)
            writer.wait_for("done", number)
            how = "in the middle" if in_the_middle and cut.done < number else f"after {cut.kind}"
            if how != "in the middle" and not cut.is_proof(unsynced, again):
                cut.device.unlink()
                continue  # the kernel has written by itself what nobody synced: no proof of anything
            unsynced.unlink()
            check(
                cut, again, tmp_path / f"check-{cuts}", at_least=cut.done, at_most=cut.done + (how == "in the middle")
            )
            note("power cut", f"cut {cuts}", how, f"{cut.done} operations acknowledged, all there")
            proven[how] += how != "in the middle"
            cut.device.unlink()
            cuts += 1
    assert cuts == POWER_CUTS
    assert sum(proven.values()) >= POWER_CUTS // 2
    note("power cut", "what was not synced was missing in", f"{sum(proven.values())} copies", dict(proven))


def go_on(writer: Child, unsynced: Path) -> None:
    assert writer.process.stdin is not None
    writer.process.stdin.write(f"{unsynced}\n".encode())
    writer.process.stdin.flush()


def check(cut: Cut, folder: Path, log: Path, *, at_least: int, at_most: int) -> None:
    with (
        mounted(cut.device, folder),
        child("faults.writer", folder / "chroma", TENANT, SEED, at_least, ONCE, folder=log) as reader,
    ):
        assert reader.wait() == 0, reader.told()
        assert at_least <= int(reader.wait_for("found")[1]) <= at_most, reader.told()
