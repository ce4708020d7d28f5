"""Rows that are replaced and deleted again and again do not keep their room."""

from contextlib import closing
from pathlib import Path

import pytest
from faults.conftest import Note
from faults.plan import Operation, Plan, info
from faults.writer import opened

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS, ROUNDS, MOST = 1_000, 20, 2.5
COLLECTION = "collection-0"


def rows(first: int) -> list[StoredRow]:
    plan = Plan("tenant_a", 1)
    plan.take(Operation("create", COLLECTION))
    return list(plan.rows(COLLECTION, [f"d{number}" for number in range(first, first + ROWS)]).values())


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("ids", ["the same ids", "fresh ids"])
def test_a_cell_that_lived_is_not_much_larger_than_a_fresh_one(tmp_path: Path, note: Note, ids: str) -> None:
    sizes = {}
    for rounds in (0, ROUNDS):
        with closing(EmbeddedCellStore(tmp_path / str(rounds))) as store, closing(opened(store, "tenant_a")) as cell:
            cell.create_collection(info(COLLECTION))
            live = rows(0)
            cell.upsert(COLLECTION, live)
            for each in range(rounds):
                cell.delete(COLLECTION, [row.document_id for row in live])
                live = rows((each + 1) * ROWS if ids == "fresh ids" else 0)
                cell.upsert(COLLECTION, live)
            assert len(cell.find_ids(COLLECTION, RowCondition())) == ROWS
        sizes[rounds] = size(tmp_path / str(rounds))
    times = sizes[ROUNDS] / sizes[0]
    note("room", f"{ROWS} rows {ROUNDS} times, {ids}", f"{times:.2f} times a fresh cell of {sizes[0]:,} bytes")
    assert times <= MOST
