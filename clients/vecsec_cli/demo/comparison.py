"""What a caller saw, beside what the tenant's admin sees, and why rows are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_cli.demo.callers import DemoCaller
from vecsec_client import ScoredDocument, Sensitivity

_RISING = tuple(Sensitivity)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row of the admin's view or of the caller's."""

    row: ScoredDocument
    withheld_because: str
    """Empty if the caller sees it."""


def compare(
    caller: DemoCaller, seen: Sequence[ScoredDocument], all_rows: Sequence[ScoredDocument]
) -> list[ComparedRow]:
    """The rows that the caller sees, among those nearer ones that only the admin sees; nearest first.

    Args:
        caller: who searched.
        seen: what the caller got.
        all_rows: what the tenant's admin got for the same query.
    """
    visible = {row.document_id for row in seen}
    farthest_seen = min((row.score for row in seen), default=-1.0)
    withheld = [row for row in all_rows if row.document_id not in visible and row.score >= farthest_seen]
    compared = [ComparedRow(row, "") for row in seen]
    compared += [ComparedRow(row, _reason(caller, row)) for row in withheld]
    return sorted(compared, key=lambda each: -each.row.score)


def _reason(caller: DemoCaller, row: ScoredDocument) -> str:
    """Why the default rules withhold a row of the caller's own tenant."""
    if row.tenant_id != caller.tenant_id:
        return "belongs to another tenant"
    if row.sensitivity is None or _RISING.index(row.sensitivity) > _RISING.index(caller.clearance):
        return f"above the clearance {caller.clearance}"
    return f"a topic of {', '.join(row.topics)} is outside the tenant's scope"
