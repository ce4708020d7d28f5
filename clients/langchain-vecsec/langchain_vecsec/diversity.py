"""Maximal marginal relevance: rows that are near the query and unlike one another (Carbonell and Goldstein, 1998)."""

import math
from collections.abc import Sequence
from operator import mul


def most_diverse(
    scores: Sequence[float], vectors: Sequence[Sequence[float]], k: int, weight_of_nearness: float
) -> list[int]:
    """The positions of `k` rows (or of all, if there are fewer), in the order in which they were chosen.

    Each is the one whose score, less its likeness to the nearest that was chosen before, is highest; a weight of 1
    looks at scores alone, one of 0 at likeness alone. `scores` are cosine similarities with the query.
    """
    directions = [_direction(vector) for vector in vectors]
    likeness = [0.0] * len(scores)
    left = list(range(len(scores)))
    chosen: list[int] = []
    while left and len(chosen) < k:
        best = max(left, key=lambda row: weight_of_nearness * scores[row] - (1 - weight_of_nearness) * likeness[row])
        left.remove(best)
        for row in left:
            alike = sum(map(mul, directions[row], directions[best]))
            likeness[row] = max(likeness[row], alike) if chosen else alike
        chosen.append(best)
    return chosen


def _direction(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else list(vector)
