"""How much words count, in a row and beside vectors."""

from typing import Final

SATURATION: Final = 1.2
"""BM25's k1: how soon more of the same word in a row stops counting."""
LENGTH_NORMALISATION: Final = 0.75
"""BM25's b: 0 does not look at how long a row is, 1 counts words by their share of it."""

RANK_CONSTANT: Final = 60
"""Of reciprocal rank fusion: a row of rank r (from 1) in a list counts weight / (constant + r)."""
VECTOR_WEIGHT: Final = 1.0
TEXT_WEIGHT: Final = 1.0
