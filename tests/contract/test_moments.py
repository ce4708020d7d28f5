"""A moment of a cell that is read while others write: nothing of it is torn, missing, twice, or of another moment."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from contract.test_cells import INFO, cell, label, put, tenant_id, vector  # noqa: F401 (fixtures)

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.model.rows import Document, Vector
from vecsec_retrieval.model.store import Cell, RowsWanted
from vecsec_retrieval.stores.embedded.moments import KEPT_SECONDS, LONGEST_SECONDS, MOST_OF_A_TENANT, Moments
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, Record
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.visibility.tagging import label_key, to_stored

ROWS_BEFORE_FORGETTING = 20
"""More replaced entries than these, and a cell begins to forget, in these tests."""


def pages(of: Cell, moment: str, *, count: int = 2, sensitivities: str = "PUBLIC") -> Iterator[dict[str, Vector]]:
    """Embeddings by id, page by page."""
    keys = frozenset(label_key(label(of.tenant_id, Sensitivity[each])) for each in sensitivities.split())
    after_id = ""
    while True:
        page = of.rows_at(moment, "documents", RowsWanted(keys, after_id, count))
        assert len(page.rows) <= count
        yield {row.document_id: row.embedding for row in page.rows if row.embedding is not None}
        after_id = page.next_after_id
        if not after_id:
            return


def whole(of: Cell, moment: str, **how: object) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    for page in pages(of, moment, **how):  # type: ignore[arg-type]
        assert not found.keys() & page.keys()
        found.update(page)
    assert list(found) == sorted(found)
    return found


def test_rows_are_those_of_the_moment_where_the_store_can_hold_one(cell: Cell) -> None:  # noqa: F811
    for document_id in "abcde":
        put(cell, document_id, vector(1))
    moment = cell.hold_moment()
    reading = pages(cell, moment)
    found = dict(next(reading))
    put(cell, "b", vector(2))
    put(cell, "d", vector(3), sensitivity=Sensitivity.SECRET)
    cell.delete("documents", ["e"])
    put(cell, "f", vector(4))
    for page in reading:
        found.update(page)
    if moment:
        assert list(found) == ["a", "b", "c", "d", "e"]
        assert {float(each[0]) for each in found.values()} == {1.0}
        assert list(whole(cell, moment, sensitivities="SECRET")) == []
    else:
        assert list(found) == ["a", "b", "c", "f"], "each page is of its own moment"
    now = whole(cell, cell.hold_moment(), sensitivities="PUBLIC SECRET")
    assert {key: float(each[0]) for key, each in now.items()} == {"a": 1, "b": 2, "c": 1, "d": 3, "f": 4}


def test_a_collection_that_was_made_later_has_no_rows_then(cell: Cell) -> None:  # noqa: F811
    moment = cell.hold_moment()
    put(cell, "a", vector(1))
    assert whole(cell, moment).keys() == (set() if moment else {"a"}), "a ChromaDB server holds no moments"


def test_a_moment_that_nobody_holds_is_refused(cell: Cell) -> None:  # noqa: F811
    put(cell, "a", vector(1))
    with pytest.raises(InvalidRequest, match="moment: is not held any more"):
        whole(cell, "1")


def test_many_hidden_rows_in_between_are_passed_over(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        made = store.open("tenant_a", create=True)
        assert made is not None
        with closing(made):
            made.create_collection(INFO)
            put(made, "a", vector(1))
            hidden = label("tenant_a", Sensitivity.SECRET)
            for batch in range(3):
                rows = [Document(f"b{batch}{number:03}", "x", hidden, {}, vector(1)) for number in range(500)]
                made.upsert("documents", [to_stored(row) for row in rows])
            put(made, "c", vector(1))
            found = list(pages(made, made.hold_moment()))
    assert [document_id for page in found for document_id in page] == ["a", "c"]
    assert len(found) > 2, "they are passed over in steps, between which others get their turn"


def test_what_was_replaced_is_kept_while_a_moment_is_held_and_forgotten_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the cell was closed in between, as one at rest is."""
    now = 0.0
    monkeypatch.setattr("vecsec_retrieval.stores.embedded.store.Moments", lambda: Moments(lambda: now))
    monkeypatch.setattr("vecsec_retrieval.stores.embedded.cell._FORGET_ABOVE", ROWS_BEFORE_FORGETTING)

    def replace(times: int) -> None:
        for number in range(times):
            put(opened, "a", vector(number + 2))

    def entries() -> int:
        with closing(Record(tmp_path / "tenant_a" / DATABASE_FILE)) as record:
            return record.entries()

    with closing(EmbeddedCellStore(tmp_path)) as store:
        opened = store.open("tenant_a", create=True)
        assert opened is not None
        opened.create_collection(INFO)
        put(opened, "a", vector(1))
        moment = opened.hold_moment()
        replace(ROWS_BEFORE_FORGETTING)
        opened.close()
        opened = store.open("tenant_a", create=False)
        assert opened is not None
        replace(2)
        assert np.array_equal(whole(opened, moment)["a"], vector(1))
        assert entries() > ROWS_BEFORE_FORGETTING
        now = KEPT_SECONDS + 1
        replace(1)
        with pytest.raises(InvalidRequest):
            whole(opened, moment)
        assert list(whole(opened, opened.hold_moment())) == ["a"]
        opened.close()
        assert entries() < 10


def test_threat_27_who_goes_on_reading_holds_a_moment_for_an_hour_and_no_longer() -> None:
    """Rows that are deleted or labelled anew would stay readable, and the log would grow for ever."""
    now = 0.0
    moments = Moments(lambda: now)
    moment = moments.hold("tenant_a", 7)
    while now + KEPT_SECONDS <= LONGEST_SECONDS:
        now += KEPT_SECONDS
        assert moments.position("tenant_a", moment) == 7
    now += KEPT_SECONDS
    with pytest.raises(InvalidRequest):
        moments.position("tenant_a", moment)
    assert not moments.are_held("tenant_a")


def test_a_moment_is_one_tenants_and_the_oldest_of_many_goes() -> None:
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1.0
        return now

    moments = Moments(tick)
    first, second = moments.hold("tenant_a", 7), moments.hold("tenant_a", 8)
    assert first != second
    assert moments.position("tenant_a", first) == 7
    with pytest.raises(InvalidRequest):
        moments.position("tenant_b", first)
    for _ in range(MOST_OF_A_TENANT - 1):
        moments.hold("tenant_a", 9)
    with pytest.raises(InvalidRequest):
        moments.position("tenant_a", second)
    assert moments.position("tenant_a", first) == 7
    assert moments.are_held("tenant_a")
    assert not moments.are_held("tenant_b")
    now += KEPT_SECONDS + 1
    assert not moments.are_held("tenant_a")
