"""Quantiles of latencies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Quantiles of one side's latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float
    samples: int

    @property
    def cells(self) -> tuple[str, str, str]:
        """As they stand in a table."""
        return f"{self.p50:.2f} ms", f"{self.p95:.2f} ms", f"{self.p99:.2f} ms"


def latency(seconds: Sequence[float]) -> Latency:
    """Their quantiles, interpolated between neighbours."""
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95, 99]))
    return Latency(p50, p95, p99, len(seconds))
