"""Asks everything of two tenants, of which one's cell was damaged: `python -m faults.examiner PATH SEED DONE`.

Lines that are written:

    other WORDS             `right`, or what another tenant is told wrongly
    right NUMBER            so many questions of the damaged tenant were answered as they must be
    damaged NUMBER          so many were answered with STORE_DAMAGED
    wrong WORDS             one was answered in another way
    import WORDS            `acknowledged`, or the refusal
    again WORDS             the same of the questions after a restart, and with the imported row where acknowledged:
                            `right`, `damaged`, or what was wrong
    end                     the process has lived
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from faults.comparing import differences, questions
from faults.in_memory import save
from faults.plan import DIMENSIONS, Plan, State
from faults.writer import do, opened, say

from vecsec_chassis.domain.errors import StoreDamaged
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.visibility.tagging import to_stored

DAMAGED, OTHER = "tenant_a", "tenant_b"
IMPORTED = "imported into a damaged cell"


def prepare(path: Path, seed: int, done: int, tenant_ids: tuple[str, ...] = (DAMAGED, OTHER)) -> None:
    """Make whole cells of these tenants."""
    with closing(EmbeddedCellStore(path)) as store:
        for tenant_id in tenant_ids:
            plan = Plan(tenant_id, seed)
            with closing(opened(store, tenant_id)) as cell:
                while plan.done < done:
                    operation = plan.next()
                    do(cell, operation)
                    plan.take(operation)
                    if plan.done == done - 1:
                        for collection_id in plan.state:
                            save(cell, collection_id)


def state_of(tenant_id: str, seed: int, done: int) -> State:
    plan = Plan(tenant_id, seed)
    plan.go_on_to(done)
    return plan.state


def answers(store: EmbeddedCellStore, state: State) -> Iterator[str]:
    """How each question was answered."""
    try:
        cell = opened(store, DAMAGED)
    except StoreDamaged:
        yield "damaged"
        return
    try:
        for name, question in questions(cell, state):
            try:
                wrong = list(question())
            except StoreDamaged:
                yield "damaged"
                continue
            except Exception as error:  # noqa: BLE001 (whatever it is, it is said)
                wrong = [repr(error)]
            yield f"{name}: {wrong[0]}" if wrong else "right"
    finally:
        try:
            cell.close()
        except StoreDamaged:
            """It was said already."""


def imports(store: EmbeddedCellStore, state: State) -> str:
    """How a row is received that is acknowledged where it can be; then it must be there."""
    label = Label(DAMAGED, Sensitivity.PUBLIC, frozenset({"a"}))
    row = to_stored(Document(IMPORTED, IMPORTED, label, {}, np.full(DIMENSIONS, 0.5, dtype=np.float32)))
    try:
        with closing(opened(store, DAMAGED)) as cell:
            cell.upsert("collection-0", [row])
        told = "acknowledged"
    except StoreDamaged:
        told = "damaged"
    if told == "acknowledged" or _is_there(store):
        state["collection-0"][IMPORTED] = row
    return told


def _is_there(store: EmbeddedCellStore) -> bool:
    """Whether what was refused was stored all the same: then it is to be there as a whole."""
    try:
        with closing(opened(store, DAMAGED)) as cell:
            return bool(cell.get("collection-0", [IMPORTED], with_embeddings=True))
    except StoreDamaged:
        return False


def main(arguments: list[str]) -> int:
    path, seed, done = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    others, state = state_of(OTHER, seed, done), state_of(DAMAGED, seed, done)

    def other_is_right(store: EmbeddedCellStore) -> None:
        with closing(opened(store, OTHER)) as cell:
            say("other", next(differences(cell, others), "right"))

    with closing(EmbeddedCellStore(path)) as store:
        told = list(answers(store, state))
        other_is_right(store)
        say("right", told.count("right"))
        say("damaged", told.count("damaged"))
        for words in told:
            if words not in {"right", "damaged"}:
                say("wrong", words)
        say("import", imports(store, state))
    with closing(EmbeddedCellStore(path)) as store:
        for words in sorted(set(answers(store, state))):
            say("again", words)
        other_is_right(store)
    say("end")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
