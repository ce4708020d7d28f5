"""Who uses most, of ever so many, in a few places. Pure."""

_PLACES = 32


class TopTalkers:
    """Sums by name. Where there is no place left, a new name takes that of the smallest and goes on from its sum, so
    that whoever has more than a thirty-second of all is among them (the space-saving algorithm)."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}

    def add(self, name: str, amount: float) -> None:
        """This one used so much more."""
        known = self._sums.get(name)
        if known is None and len(self._sums) >= _PLACES:
            known = self._sums.pop(min(self._sums, key=self._sums.__getitem__))
        self._sums[name] = (known or 0.0) + amount

    def top(self, count: int) -> list[tuple[str, float]]:
        """The largest, the first of them first."""
        return sorted(self._sums.items(), key=lambda item: -item[1])[:count]
