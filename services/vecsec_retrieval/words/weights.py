"""How much words count, in a row and beside vectors: chosen by `make bench-quality`, on the part to tune on."""

from typing import Final

SATURATION: Final = 1.2
"""BM25's k1: how soon more of the same word in a row stops counting."""
LENGTH_NORMALISATION: Final = 0.6
"""BM25's b: 0 does not look at how long a row is, 1 counts words by their share of it."""

RANK_CONSTANT: Final = 1
"""Of reciprocal rank fusion: a row of rank r (from 1) in a list counts weight / (constant + r).
With 60, which is the custom, what is tenth in both lists outdoes what is first in one: a part number, for instance."""
VECTOR_WEIGHT: Final = 1.0
TEXT_WEIGHT: Final = 2.0
