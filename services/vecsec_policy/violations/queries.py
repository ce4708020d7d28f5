"""Counts and lists what the index of violations holds, and says where a listing goes on.

Each query opens the index by itself, so any thread may ask.
"""

import base64
import binascii
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from vecsec_chassis.domain.access import Action, ViolationType
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_policy.violations.foreign_access import ForeignAccessFilter, ListedForeignAccess, page_of, position_of

_MOST_REPLICAS = 32
_COLUMNS = (
    "position, violation_type, count, time_ms, incident_id, request_id, subject, role, requested_tenant_id, action, "
    "policy_version"
)
"""In the order of the fields of `ListedViolation`."""


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
        parts = ["tenant_id = ?"]
        values: list[object] = [self.tenant_id]
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

    def foreign_access(
        self, wanted: ForeignAccessFilter, *, behind: int | None, limit: int, newest_first: bool
    ) -> tuple[Sequence[ListedForeignAccess], float]:
        """Up to `limit` of what callers of other tenants did, behind a position; and when the oldest record of the log
        was written, in seconds since the epoch.

        Raises:
            sqlite3.Error: if the index cannot be read.
        """
        with self._opened() as index:
            found = page_of(index, wanted, behind=behind, limit=limit, newest_first=newest_first)
            since = index.execute("SELECT since_ms FROM reached").fetchone()
        return found, since[0] / 1000 if since is not None else 0.0

    def position_of_foreign_access(self, tenant_id: str, incident_id: str) -> int | None:
        """Where it is in the log; None if it is not there any more, or never was."""
        with self._opened() as index:
            return position_of(index, tenant_id, incident_id)

    def position_of(self, tenant_id: str, incident_id: str, violation: StrEnum) -> int | None:
        """Where a violation of the tenant's callers is; None if it is not there any more, or never was."""
        query = "SELECT position FROM violations WHERE incident_id = ? AND tenant_id = ? AND violation_type = ?"
        with self._opened() as index:
            row = index.execute(query, (incident_id, tenant_id, violation.value)).fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"{self._index_path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection


def _listed(row: tuple[Any, ...]) -> ListedViolation:
    found = ListedViolation(*row)
    return replace(found, type=ViolationType(found.type), time=found.time / 1000, action=Action(found.action))


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last violation, or whatever is listed, that was shown."""

    incident_id: str
    type: StrEnum


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a listing goes on. To callers a token is opaque.

    It names the last violation that was shown by its incident id, which the caller has seen: a number in the log would
    tell how much other tenants do. Each replica of the policy service has a log of its own, so a token has a place for
    each that has answered; then following goes on whichever of them answers.
    """

    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    """By replica."""

    @staticmethod
    def parse(
        text: str, kinds: Callable[[str], StrEnum] = ViolationType, *, method: str = "ListViolations"
    ) -> "PageToken":
        """Read a token; an empty one begins a listing. `kinds` are what is listed, by the method of this name.

        Raises:
            InvalidRequest: if it is none of ours.
        """
        if not text:
            return PageToken()
        try:
            fields = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            cursors = {
                str(replica): Cursor(_text(incident_id), kinds(kind)) for replica, (incident_id, kind) in fields.items()
            }
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidRequest.of("page_token", f"is not one that {method} gave") from error
        return PageToken(cursors)

    def moved(self, replica_id: str, cursor: Cursor) -> "PageToken":
        """The token after a replica has shown more; what answered longest ago is forgotten first."""
        others = {replica: at for replica, at in self.cursors.items() if replica != replica_id}
        kept = dict(list(others.items())[-(_MOST_REPLICAS - 1) :])
        return PageToken(kept | {replica_id: cursor})

    def __str__(self) -> str:
        if not self.cursors:
            return ""
        fields = {replica: (cursor.incident_id, cursor.type) for replica, cursor in self.cursors.items()}
        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def _text(part: object) -> str:
    """Half a surrogate pair, which JSON can spell, is nothing that the index could be asked for."""
    text = str(part)
    text.encode()
    return text
