"""Goes on with a plan in one cell until it is stopped: `python -m faults.writer PATH TENANT SEED DONE [OPTION…]`.

DONE operations were acknowledged before. The next one may have been under way when the process before this one ended:
it is there whole or not at all. Lines that are written:

    ready                   everything is imported, nothing is opened yet
    found NUMBER            the cell is what it must be after so many operations
    wrong WORDS             it is not
    done NUMBER KIND        so many operations have been acknowledged, the last one of that kind; `+forget` is added
                            where replaced rows were dropped from the log by it
"""

import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from unittest.mock import patch

from faults.comparing import differences
from faults.in_memory import save
from faults.plan import Operation, Plan, info

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.record import Record
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.visibility.tagging import from_stored

ONCE = "--once"
"""Look, do one operation more, open the cell again, look again, and end."""
LOCKSTEP = "--lockstep"
"""Go on after each acknowledgement when a line has been read; the line names a file that is written and not synced."""
UNSYNCED = b"not synced" * 1_000


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def do(cell: EmbeddedCell, operation: Operation) -> None:
    if operation.kind == "create":
        cell.create_collection(info(operation.collection_id))
    elif operation.kind == "delete":
        cell.delete(operation.collection_id, list(operation.rows))
    elif operation.kind == "relabel":
        rows = [from_stored(row, cell.tenant_id) for row in operation.rows.values() if row is not None]
        cell.relabel(operation.collection_id, [(row.document_id, row.label) for row in rows if row is not None])
    else:
        rows = [row for row in operation.rows.values() if isinstance(row, StoredRow)]
        cell.upsert(operation.collection_id, rows, [each for each, row in operation.rows.items() if row is None])


def found(cell: EmbeddedCell, plan: Plan) -> bool:
    """Find out whether the operation that was under way is there; complain if neither is so."""
    without = list(islice(differences(cell, plan.state), 3))
    if without:
        plan.take(plan.next())
        with_it = list(islice(differences(cell, plan.state), 3))
        if with_it:
            say("wrong", f"after {plan.done - 1}: {without}; after {plan.done}: {with_it}")
            return False
    say("found", plan.done)
    return True


def go_on(cell: EmbeddedCell, plan: Plan, options: list[str]) -> None:
    """Do one operation after the other."""
    forgotten: list[int] = []
    forget = Record.forget_replaced
    with patch.object(Record, "forget_replaced", lambda *values: forgotten.append(forget(*values)) or forgotten[-1]):
        while LOCKSTEP not in options or (unsynced := sys.stdin.readline().strip()):
            forgotten.clear()
            operation = plan.next()
            do(cell, operation)
            plan.take(operation)
            if operation.kind != "create" and plan.done % 2:
                save(cell, operation.collection_id)
            if LOCKSTEP in options:
                Path(unsynced).write_bytes(UNSYNCED)
            say("done", plan.done, operation.kind + ("+forget" if any(forgotten) else ""))
            if ONCE in options:
                return


def main(arguments: list[str]) -> int:
    path, tenant_id, seed, done, *options = arguments
    plan = Plan(tenant_id, int(seed))
    plan.go_on_to(int(done))
    say("ready")
    with closing(EmbeddedCellStore(Path(path))) as store:
        with closing(opened(store, tenant_id)) as cell:
            if not found(cell, plan):
                return 1
            go_on(cell, plan, options)
        with closing(opened(store, tenant_id)) as cell:
            return 0 if found(cell, plan) else 1


def opened(store: EmbeddedCellStore, tenant_id: str) -> EmbeddedCell:
    cell = store.open(tenant_id, create=True)
    assert cell is not None
    return cell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
