"""When another shard is asked next. Pure."""

AGAIN_SECONDS = 0.2
"""While its word is missing."""
LONGEST_PAUSE_SECONDS = 2.0
"""While it does not answer."""
REFRESH_SECONDS = 10.0
"""Once it has told; and the most often that it is asked for all its cells in vain."""


class QuestionTimes:
    """Of one shard, by one placement."""

    def __init__(self) -> None:
        self._pause = AGAIN_SECONDS
        self._cells_due = float("-inf")

    def wants_cells(self, now: float) -> bool:
        """Whether to ask for all its cells at this time, in seconds; else whether it goes by the placement yet, which
        costs next to nothing."""
        return now >= self._cells_due

    def told_cells(self, now: float) -> None:
        """It has told its cells at this time."""
        self._cells_due = now + REFRESH_SECONDS

    def pause(self, *, has_answered: bool, is_missing: bool) -> float:
        """Seconds until the next question, after one that was answered or not, and with or without a word that
        counts."""
        if not is_missing:
            self._pause = AGAIN_SECONDS
            return REFRESH_SECONDS
        if has_answered:
            self._pause = AGAIN_SECONDS
            return AGAIN_SECONDS
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause
