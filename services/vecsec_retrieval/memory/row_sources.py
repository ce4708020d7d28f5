"""Which source each row of an index is a passage of.

Read of each row when somebody first asks who sees it, for it stands in its metadata, and then kept: rows are only ever
added to an index, and what they are passages of does not change. Rows that nobody asks for are not read, so that the
time of an answer does not tell of rows that its caller does not see.
"""

import threading
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.model.sources import SOURCE_KEY, SourceMark, passage_of

_UNREAD, _NONE = -2, -1
_BYTES_A_MARK = 550


class RowSources:
    """Of one index. Used from any thread."""

    def __init__(self) -> None:
        self._codes = np.empty(0, dtype=np.int32)
        self._marks: list[SourceMark] = []
        self._code_of: dict[SourceMark, int] = {}
        self._codes_of_source: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    @property
    def approximate_bytes(self) -> int:
        """Memory that is taken."""
        return self._codes.nbytes + len(self._marks) * _BYTES_A_MARK

    def of(self, moment: IndexMoment, mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int32], dict[int, SourceMark]]:
        """Those of the masked rows that are passages, the code of each one's mark, and the marks of these by code.

        Raises:
            TornSnapshot: if the snapshot is not what was written.
        """
        rows, codes = self._codes_of(moment, mask)
        return rows, codes, {code: self._marks[code] for code in np.unique(codes).tolist()}

    def rows_of(self, moment: IndexMoment, source_ids: Collection[str]) -> dict[int, str]:
        """The source of each living row that is a passage of one of these, whoever may see it."""
        rows, codes = self._codes_of(moment, moment.alive)
        with self._lock:
            wanted = [code for source_id in source_ids for code in self._codes_of_source.get(source_id, ())]
        is_wanted = np.isin(codes, np.array(wanted, dtype=np.int32))
        found = zip(rows[is_wanted].tolist(), codes[is_wanted].tolist(), strict=True)
        return {row: self._marks[code].source_id for row, code in found}

    def _codes_of(self, moment: IndexMoment, mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Goes over no marks or key sets of other rows: of those there may be many, and time would tell of them."""
        rows = np.flatnonzero(mask)
        key_sets, key_set_of_row = np.unique(moment.key_set_codes[rows], return_inverse=True)
        bears = np.array([SOURCE_KEY in moment.key_sets[code] for code in key_sets.tolist()], dtype=np.bool_)
        rows = rows[bears[key_set_of_row]]
        with self._lock:
            self._make_room(len(mask))
            unread = rows[self._codes[rows] == _UNREAD]
            self._codes[unread] = [self._read(moment, row) for row in unread.tolist()]
            codes = self._codes[rows]
        return rows[codes >= 0], codes[codes >= 0]

    def _make_room(self, count: int) -> None:
        more = count - len(self._codes)
        if more > 0:
            self._codes = np.concatenate([self._codes, np.full(more, _UNREAD, dtype=np.int32)])

    def _read(self, moment: IndexMoment, row: int) -> int:
        passage = passage_of(moment.metadata(row))
        if passage is None:
            return _NONE
        code = self._code_of.get(passage.mark)
        if code is None:
            code = self._code_of[passage.mark] = len(self._marks)
            self._marks.append(passage.mark)
            self._codes_of_source.setdefault(passage.mark.source_id, []).append(code)
        return code
