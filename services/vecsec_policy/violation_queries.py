"""Counts and lists what the index of violations holds. Each query opens the index by itself, so any thread may ask."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vecsec_chassis.access import Action, ViolationType

_COLUMNS = (
    "position, violation_type, count, time_ms, incident_id, request_id, subject, role, requested_tenant_id, action, "
    "policy_version"
)


@dataclass(frozen=True, slots=True)
class ViolationFilter:
    """Which violations are meant."""

    tenant_id: str
    """The tenant whose callers they are."""
    types: frozenset[ViolationType] = frozenset()
    """Empty for all."""
    start: float | None = None
    """Seconds since the epoch; from then on."""
    end: float | None = None
    """Before then."""

    def condition(self, *, by_type: bool = True) -> tuple[str, list[object]]:
        """As SQL, and its parameters."""
        parts, parameters = ["tenant_id = ?"], [self.tenant_id]
        values: list[object] = [*parameters]
        if by_type and self.types:
            parts.append(f"violation_type IN ({', '.join('?' * len(self.types))})")
            values += sorted(self.types)
        for bound, comparison in ((self.start, ">="), (self.end, "<")):
            if bound is not None:
                parts.append(f"time_ms {comparison} ?")
                values.append(round(bound * 1000))
        return " AND ".join(parts), values


@dataclass(frozen=True, slots=True)
class ViolationCounts:
    """How often rules were broken."""

    violations: Mapping[ViolationType, int]
    """Every type that was asked for is there, also those with 0."""
    denied: int
    """How many calls were refused."""
    since: float
    """When the oldest record of the audit log was written, in seconds since the epoch; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class ListedViolation:
    """One violation; where several rows of a check broke the same kind of rule, it is one with their number."""

    position: int
    """Its place in the log of this replica."""
    type: ViolationType
    count: int
    time: float
    """Seconds since the epoch."""
    incident_id: str
    request_id: str
    subject: str
    role: str
    tenant_id: str
    """The tenant that was asked for."""
    action: Action
    policy_version: str


class ViolationQueries:
    """Asks the index."""

    def __init__(self, index_path: Path) -> None:
        self._index_path = index_path

    def count(self, wanted: ViolationFilter) -> ViolationCounts:
        """Count the violations that are wanted, and all denials of that time.

        Raises:
            sqlite3.Error: if the index cannot be read.
        """
        counts = dict.fromkeys([kind for kind in ViolationType if not wanted.types or kind in wanted.types], 0)
        condition, parameters = wanted.condition()
        denied_condition, denied_parameters = wanted.condition(by_type=False)
        with self._opened() as index:
            query = f"SELECT violation_type, sum(count) FROM violations WHERE {condition} GROUP BY violation_type"  # noqa: S608
            for name, count in index.execute(query, parameters):
                counts[ViolationType(name)] = count
            query = f"SELECT count(*) FROM denials WHERE {denied_condition}"  # noqa: S608
            denied = index.execute(query, denied_parameters).fetchone()[0]
            since = index.execute("SELECT since_ms FROM reached").fetchone()
        return ViolationCounts(counts, denied, since[0] / 1000 if since is not None else 0.0)

    def page(
        self, wanted: ViolationFilter, *, behind: int | None, limit: int, newest_first: bool
    ) -> Sequence[ListedViolation]:
        """Up to `limit` violations behind a position, in the order of the log or against it.

        Raises:
            sqlite3.Error: if the index cannot be read.
        """
        condition, parameters = wanted.condition()
        comparison, direction = ("<", "DESC") if newest_first else (">", "ASC")
        if behind is not None:
            condition += f" AND position {comparison} ?"
            parameters.append(behind)
        query = f"SELECT {_COLUMNS} FROM violations WHERE {condition} ORDER BY position {direction} LIMIT ?"  # noqa: S608
        with self._opened() as index:
            return [_listed(row) for row in index.execute(query, [*parameters, limit])]

    def position_of(self, tenant_id: str, incident_id: str, violation: ViolationType) -> int | None:
        """Where a violation of the tenant's callers is; None if it is not there any more, or never was."""
        query = "SELECT position FROM violations WHERE incident_id = ? AND tenant_id = ? AND violation_type = ?"
        with self._opened() as index:
            row = index.execute(query, (incident_id, tenant_id, violation.value)).fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"{self._index_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection


def _listed(row: tuple[int, str, int, int, str, str, str, str, str, str, str]) -> ListedViolation:
    position, violation, count, time_ms, incident_id, request_id, subject, role, tenant_id, action, version = row
    return ListedViolation(
        position=position,
        type=ViolationType(violation),
        count=count,
        time=time_ms / 1000,
        incident_id=incident_id,
        request_id=request_id,
        subject=subject,
        role=role,
        tenant_id=tenant_id,
        action=Action(action),
        policy_version=version,
    )
