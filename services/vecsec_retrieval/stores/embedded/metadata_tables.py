"""Finds rows of an embedded cell by label and metadata in ChromaDB's tables, without ChromaDB, which writes when it is
opened and when it reads: what the log is ahead of the tables after a write that failed.

Such rows are looked at one by one. Of the others, too many may be found, as `RowCondition` says, and never too few.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import count

import orjson

from vecsec_retrieval.model.filters import AllOf, AnyOf, Equals, In, MetadataFilter, Range, predicate
from vecsec_retrieval.model.rows import MetadataValue
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores.embedded.record import DELETE, TOPIC, Record
from vecsec_retrieval.visibility.tagging import LABEL_KEY, METADATA_PREFIX, caller_metadata

_MOST_VALUES = 10_000
"""SQLite takes 32,766 values in a question."""
_SEGMENT = """
    SELECT segments.id, coalesce(max_seq_id.seq_id, 0) FROM segments
    LEFT JOIN max_seq_id ON max_seq_id.segment_id = segments.id
    WHERE segments.collection = ? AND segments.scope = 'METADATA'
"""
_AHEAD = """
    SELECT id, max(seq_id), operation FROM embeddings_queue WHERE topic = :topic AND seq_id > :reached GROUP BY id
"""
_IN_TABLES = "SELECT embedding_id FROM embeddings WHERE segment_id = :segment AND {} LIMIT :most"
_WITH_KEY = "embeddings.id IN (SELECT id FROM embedding_metadata WHERE key = :{} AND ({}))"
_AMONG = "string_value IN (SELECT value FROM json_each(:{}))"
_NUMBER = "({} OR {})"
"""Written so that each part is answered by an index of its own."""

_Values = dict[str, object]


def find_ids(record: Record, topic: str, condition: RowCondition, limit: int | None) -> list[str]:
    """The ids of the rows that match, at most `limit`."""
    if condition.label_keys is None and condition.metadata is None:
        return list(record.positions(topic))[:limit]
    [(segment, reached)] = record.ask(_SEGMENT, [topic.removeprefix(TOPIC)])
    ahead = record.ask(_AHEAD, {"topic": topic, "reached": reached})
    # Those that the log has anew come out again below.
    values: _Values = {"segment": segment, "most": -1 if limit is None else limit + len(ahead)}
    stands = _Question(values).stands(condition)
    newer = {document_id for document_id, *_ in ahead}
    found = [each for (each,) in record.ask(_IN_TABLES.format(stands), values) if each not in newer]
    found += _matching(record, [position for _, position, operation in ahead if operation != DELETE], condition)
    return found[:limit]


def _matching(record: Record, positions: Sequence[int], condition: RowCondition) -> Iterator[str]:
    """Those that match of the rows that stand there in the log."""
    holds = None if condition.metadata is None else predicate(condition.metadata)
    for row in record.rows(positions, with_embeddings=False).values():
        lies = condition.label_keys is None or row.metadata.get(LABEL_KEY) in condition.label_keys
        if lies and (holds is None or holds(caller_metadata(row.metadata))):
            yield row.document_id


class _Question:
    """A condition in SQL. Its words are ours; what callers gave goes into `values`."""

    def __init__(self, values: _Values) -> None:
        self._values = values
        self._names = (f"value_{number}" for number in count())

    def stands(self, condition: RowCondition) -> str:
        """Where rows of the condition are; of a metadata condition of too many values, nothing is asked."""
        clauses = []
        if condition.label_keys is not None:
            keys = self._value(orjson.dumps(sorted(condition.label_keys)).decode())
            clauses.append(self._with_key(LABEL_KEY, _AMONG.format(keys)))
        if condition.metadata is not None and _count_values(condition.metadata) <= _MOST_VALUES:
            clauses.append(self._clause(condition.metadata))
        return " AND ".join(clauses) or "1"

    def _value(self, value: object) -> str:
        name = next(self._names)
        self._values[name] = value
        return name

    def _with_key(self, key: str, comparison: str) -> str:
        return _WITH_KEY.format(self._value(key), comparison)

    @functools.singledispatchmethod
    def _clause(self, condition: MetadataFilter) -> str:
        raise TypeError(f"not a filter: {condition!r}")

    @_clause.register
    def _(self, condition: Equals) -> str:
        return self._with_key(METADATA_PREFIX + condition.key, self._equals(condition.value))

    @_clause.register
    def _(self, condition: In) -> str:
        return self._with_key(METADATA_PREFIX + condition.key, " OR ".join(map(self._equals, condition.values)) or "0")

    @_clause.register
    def _(self, condition: Range) -> str:
        bounds = (
            (">=", condition.at_least),
            (">", condition.more_than),
            ("<=", condition.at_most),
            ("<", condition.less_than),
        )
        given = [(sign, bound) for sign, bound in bounds if bound is not None]
        return self._with_key(METADATA_PREFIX + condition.key, self._number(given))

    @_clause.register
    def _(self, condition: AllOf) -> str:
        return self._joined(" AND ", condition.filters)

    @_clause.register
    def _(self, condition: AnyOf) -> str:
        return self._joined(" OR ", condition.filters)

    def _joined(self, word: str, filters: Sequence[MetadataFilter]) -> str:
        return f"({word.join(self._clause(each) for each in filters)})"

    def _equals(self, value: MetadataValue) -> str:
        if isinstance(value, bool):
            return f"bool_value = :{self._value(int(value))}"
        if isinstance(value, str):
            return f"string_value = :{self._value(value)}"
        return self._number([(">=", value), ("<=", value)])

    def _number(self, bounds: Sequence[tuple[str, float]]) -> str:
        whole = [f"int_value {sign} :{self._value(bound)}" for sign, bound in bounds]
        floating = [f"float_value {sign[0]}= :{self._value(_outwards(sign, bound))}" for sign, bound in bounds]
        return _NUMBER.format(" AND ".join(whole), " AND ".join(floating))


def _outwards(sign: str, bound: float) -> float:
    """A little further out: ChromaDB's tables have floating-point numbers that may be off by their last place."""
    outside = -math.inf if sign.startswith(">") else math.inf
    return math.nextafter(math.nextafter(bound, outside), outside)


def _count_values(condition: MetadataFilter) -> int:
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return sum(_count_values(part) for part in parts)
        case In(_, values):
            return len(values)
    return 1
