"""What other shards are told of the cells that are here. Pure.

It is worked out once for each change: all of them ask, and there may be tens of thousands."""

from collections.abc import Mapping

from vecsec_retrieval.shard.survey import tenant_digest


class ToldCells:
    """Keeps each name's digest, and the last answer."""

    def __init__(self) -> None:
        self._cells: Mapping[str, int] = {}
        self._digests: dict[str, bytes] = {}
        self._told: Mapping[bytes, int] = {}

    def of(self, cells: Mapping[str, int]) -> Mapping[bytes, int]:
        """The epochs of these cells by the tenants' digests, in an order that says nothing of when they came; the very
        same object as long as nothing has changed."""
        if cells is not self._cells and cells != self._cells:
            self._digests = {name: self._digests.get(name) or tenant_digest(name) for name in cells}
            self._told = dict(sorted((self._digests[name], epoch) for name, epoch in cells.items()))
        self._cells = cells
        return self._told
