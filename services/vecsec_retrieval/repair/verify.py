"""`python -m vecsec_retrieval.repair.verify DIRECTORY ...` reads cells through: the structure of the log, and its rows.

A line of JSON a cell, `{"cell", "rows", "problem"}`, the problem None if there is none. Services may run meanwhile.
"""

import argparse
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from vecsec_retrieval.stores.embedded.checked_rows import TornRow
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, FORMAT, Record

_ROWS_AT_ONCE = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what was found to standard output."""
    parser = argparse.ArgumentParser(prog="python -m vecsec_retrieval.repair.verify", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="*", help="a cell")
    for directory in parser.parse_args(arguments).directory:
        rows, problem = _verified(directory)
        sys.stdout.write(json.dumps({"cell": directory.name, "rows": rows, "problem": problem}) + "\n")
        sys.stdout.flush()
    return 0


def _verified(directory: Path) -> tuple[int, str | None]:
    """How many rows could be read, and what is wrong."""
    rows = 0
    try:
        record = Record(directory / DATABASE_FILE)
        try:
            record.check()
            for collection in record.collections() if record.format == FORMAT else ():
                positions = list(record.positions(collection.topic).values())
                for start in range(0, len(positions), _ROWS_AT_ONCE):
                    # A row that was replaced since its position was read may be gone.
                    page = record.rows(positions[start : start + _ROWS_AT_ONCE], with_embeddings=False)
                    rows += len(page)
        finally:
            record.close()
    except (sqlite3.Error, TornRow) as error:
        return rows, f"{directory / DATABASE_FILE}: {error}"
    return rows, None


if __name__ == "__main__":
    sys.exit(main())
