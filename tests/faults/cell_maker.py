"""Makes one cell after the other: `python -m faults.cell_maker PATH FIRST`; says `made TENANT` of each that it has."""

import sys
from pathlib import Path

from faults.writer import opened, say

from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore


def main(arguments: list[str]) -> None:
    store = EmbeddedCellStore(Path(arguments[0]))
    for number in range(int(arguments[1]), 10_000):
        opened(store, f"tenant-{number}").close()
        say("made", f"tenant-{number}")


if __name__ == "__main__":
    main(sys.argv[1:])
