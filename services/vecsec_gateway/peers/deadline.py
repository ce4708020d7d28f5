"""How much time a call has left, and who may use how much of it."""

import time
from dataclasses import dataclass

_LONGEST_RESERVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float
    """Seconds."""

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """That many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()

    def with_reserve(self, share: float) -> "Deadline":
        """An earlier deadline, so that this share of what remains (a second at most) is left for what comes after."""
        return Deadline(self.at - min(max(self.remaining(), 0.0) * share, _LONGEST_RESERVE_SECONDS))
