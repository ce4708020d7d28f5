"""What is done to a cell, drawn from a seed: who knows it knows what must be there after so many operations."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.model.rows import CollectionInfo, Document, StoredRow
from vecsec_retrieval.visibility.tagging import caller_metadata, label_tags, to_stored

DIMENSIONS = 64
MANY_ROWS = 3_600
"""More than ChromaDB's own vector index let pass before it wrote its files a second time."""
SENSITIVITIES = tuple(Sensitivity)

MANY_AT_ONCE = 2_400

State = dict[str, dict[str, StoredRow]]
"""By collection and id."""


@dataclass(frozen=True)
class Operation:
    """One call of a cell."""

    kind: str
    collection_id: str
    rows: Mapping[str, StoredRow | None] = field(default_factory=dict)
    """What is to stand under each id; None where it is to be gone."""


def info(collection_id: str) -> CollectionInfo:
    return CollectionInfo(collection_id, "external", DIMENSIONS)


class Plan:
    """The operations that follow each other, and what is there after them."""

    def __init__(self, tenant_id: str, seed: int) -> None:
        self.state: State = {}
        self.done = 0
        self._tenant_id = tenant_id
        self._seed = seed

    def next(self) -> Operation:
        """What is to be done next; the same until `take` says that it was done."""
        chance = random.Random(f"{self._seed}-{self.done}")
        if not self.state or (chance.random() < 0.06 and len(self.state) < 5):
            return Operation("create", f"collection-{len(self.state)}")
        collection_id = "collection-0" if chance.random() < 0.8 else chance.choice(list(self.state))
        there = list(self.state[collection_id])
        kinds = ["import", "replace", "source", "delete", "relabel"]
        kind = chance.choices(kinds, [6, 2, 2, 1, 1] if len(there) < MANY_ROWS else [1, 4, 4, 3, 2])[0]
        if kind == "import" or not there:
            ids = [f"{self.done}-{number}" for number in range(chance.randint(1, 700))]
            return Operation("import", collection_id, self.rows(collection_id, ids))
        # Of those two, sometimes more than ChromaDB is given at once.
        most = MANY_AT_ONCE if kind in {"delete", "relabel"} and chance.random() < 0.3 else 600
        some = chance.sample(there, min(len(there), chance.randint(most // 2, most)))
        if kind == "relabel":
            label = Label(self._tenant_id, chance.choice(SENSITIVITIES), frozenset({f"r{self.done}"}))
            rows = self.state[collection_id]
            return Operation("relabel", collection_id, {each: _relabelled(rows[each], label) for each in some})
        if kind == "replace":
            return Operation("replace", collection_id, self.rows(collection_id, some))
        if kind == "source":  # of what there is of it some is replaced, more is new, and the rest goes
            middle = len(some) // 2
            ids = [*some[:middle], *(f"{self.done}-{number}" for number in range(chance.randint(1, 200)))]
            return Operation("source", collection_id, self.rows(collection_id, ids) | dict.fromkeys(some[middle:]))
        return Operation("delete", collection_id, dict.fromkeys(some))

    def take(self, operation: Operation) -> None:
        """It was done."""
        rows = self.state.setdefault(operation.collection_id, {})
        for document_id, row in operation.rows.items():
            rows.pop(document_id, None)
            if row is not None:
                rows[document_id] = row
        self.done += 1

    def go_on_to(self, done: int) -> None:
        """Be where so many operations were done."""
        while self.done < done:
            self.take(self.next())

    def rows(self, collection_id: str, ids: list[str]) -> dict[str, StoredRow]:
        numbers = np.random.default_rng([self._seed, self.done])
        vectors = numbers.standard_normal((len(ids), DIMENSIONS)).astype(np.float32)
        fractions = numbers.standard_normal(len(ids)) * 10.0 ** numbers.integers(-300, 300, len(ids))
        there = self.state[collection_id]
        return {
            document_id: self._row(document_id, number, float(fractions[number]), vectors[number], there)
            for number, document_id in enumerate(ids)
        }

    def _row(
        self, document_id: str, number: int, fraction: float, vector: np.ndarray, there: Mapping[str, StoredRow]
    ) -> StoredRow:
        label = Label(self._tenant_id, SENSITIVITIES[number % len(SENSITIVITIES)], frozenset({"a", f"b{number % 3}"}))
        metadata = {
            "fraction": fraction,
            "whole": 2**62 - number,
            "truth": number % 2 == 0,
            f"only {self.done % 7}": f"Größe {number} 𝔘",
        }
        text = f"Passage {document_id} as operation {self.done} wrote it. " + "Wörter, words. " * (number % 9)
        before = there.get(document_id)
        stale = [] if before is None else set(caller_metadata(before.metadata)) - set(metadata)
        return to_stored(Document(document_id, text, label, metadata, vector), stale)


def _relabelled(row: StoredRow, label: Label) -> StoredRow:
    return replace(row, metadata={**row.metadata, **label_tags(label)})
