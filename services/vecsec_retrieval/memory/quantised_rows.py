"""Rows in 8 bits a number: a quarter of the memory to read, and bounds within which the exact scores lie.

A scan takes as long as reading its matrix from memory does, so most rows are ruled out by these and never read whole.
The bounds hold for every matrix, however its rows are distributed: nothing is ruled out that belongs to the answer.
"""

from dataclasses import dataclass

import numpy as np
import simsimd
from numpy.typing import NDArray

from vecsec_retrieval.model.rows import Matrix

_LARGEST = 127
_ROUNDING = 1e-5
"""More than 32-bit arithmetic on normalised rows can be off by."""
_MANY_ROWS = 16_384
_THREADS = 2
"""For scans of more rows than that: a thread alone reads half of what memory gives."""


@dataclass(frozen=True, slots=True)
class QuantisedRows:
    """Normalised rows, each as whole numbers times a scale of its own."""

    numbers: NDArray[np.int8]
    """Of shape (rows, dimensions)."""
    scales: NDArray[np.float32]
    """Of shape (rows,)."""
    errors: NDArray[np.float32]
    """How far each row is from the exact one (Euclidean), of shape (rows,)."""

    def __len__(self) -> int:
        return len(self.scales)

    def __getitem__(self, rows: "slice | NDArray[np.int64]") -> "QuantisedRows":
        return QuantisedRows(self.numbers[rows], self.scales[rows], self.errors[rows])

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return self.numbers.nbytes + self.scales.nbytes + self.errors.nbytes

    def set(self, start: int, rows: "QuantisedRows") -> None:
        """Put rows in, from position `start` on."""
        end = start + len(rows)
        self.numbers[start:end], self.scales[start:end], self.errors[start:end] = rows.numbers, rows.scales, rows.errors

    def grown(self, count: int, capacity: int) -> "QuantisedRows":
        """The first `count` rows, with room for more."""
        grown = empty(capacity, self.numbers.shape[1])
        grown.set(0, self[:count])
        return grown

    def bounds(self, queries: Matrix) -> NDArray[np.float32]:
        """At least and at most what each row's dot products with queries of length 1 are, of shape (queries, 2, rows);
        each row is read from memory once."""
        quantised_queries = quantise(queries)
        if not len(self):
            return np.empty((len(queries), 2, 0), dtype=np.float32)
        threads = _THREADS if len(self) > _MANY_ROWS else 1
        found = simsimd.cdist(
            self.numbers, quantised_queries.numbers, metric="dot", out_dtype="float32", threads=threads
        )
        products = np.ascontiguousarray(np.asarray(found).reshape(-1, len(queries)).T)
        products *= self.scales
        products *= quantised_queries.scales[:, np.newaxis]
        bounds = np.empty((len(queries), 2, len(self)), dtype=np.float32)
        for each, product, query_error in zip(bounds, products, quantised_queries.errors, strict=True):
            # x*q - x'*q' = (x - x')*q + x'*(q - q'), and |x'| is at most 1 and the row's own error.
            margins = self.errors * (1 + query_error) + (query_error + np.float32(_ROUNDING))
            np.subtract(product, margins, out=each[0])
            np.add(product, margins, out=each[1])
        return bounds


def empty(capacity: int, dimensions: int) -> QuantisedRows:
    """Room for rows."""
    return QuantisedRows(
        np.empty((capacity, dimensions), dtype=np.int8),
        np.empty(capacity, dtype=np.float32),
        np.empty(capacity, dtype=np.float32),
    )


def quantise(matrix: Matrix) -> QuantisedRows:
    """Normalised rows (or zeros), of shape (rows, dimensions), in 8 bits a number."""
    scales = np.abs(matrix).max(axis=1, initial=0) / np.float32(_LARGEST)
    scales[scales == 0] = 1
    numbers = np.rint(matrix / scales[:, np.newaxis])
    errors = np.linalg.norm(matrix - numbers * scales[:, np.newaxis], axis=1)
    return QuantisedRows(numbers.astype(np.int8), scales.astype(np.float32), errors.astype(np.float32))
