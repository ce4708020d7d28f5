"""What readers ask of a grant's eyes, be they one grant's or those of several together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vecsec_chassis.domain.errors import InvalidGrant
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.visibility.label_table import LabelTable, Visible
from vecsec_retrieval.visibility.permissions import Visibility


class Eyes(Protocol):
    """See some labels and not others."""

    async def of(self, labels: Iterable[Label]) -> frozenset[Label]:
        """Those of the labels that are visible."""
        ...

    async def in_table(self, table: LabelTable) -> Visible:
        """Which of a table's labels are visible."""
        ...


@dataclass(frozen=True, slots=True)
class AllOfThem:
    """What all of these see: what may be read and deleted, say."""

    eyes: Sequence[Eyes]

    async def of(self, labels: Iterable[Label]) -> frozenset[Label]:
        seen = frozenset(labels)
        for each in self.eyes:
            seen = await each.of(seen)
        return seen

    async def in_table(self, table: LabelTable) -> Visible:
        seen = [await each.in_table(table) for each in self.eyes]
        count = min(map(len, seen))  # labels may have come while others were looked at
        visible = seen[0][:count].copy()
        for each in seen[1:]:
            visible &= each[:count]
        return visible


def require_same_caller(first: Visibility, second: Visibility) -> None:
    """See that two grants are one caller's, in one tenant: what one may read says nothing of what another may do.

    Raises:
        InvalidGrant: if they are not.
    """
    if _whose(first) != _whose(second):
        raise InvalidGrant("the grant is not of the caller and tenant that the grant to read is of; plan access again")


def _whose(visibility: Visibility) -> tuple[str, str, str]:
    grant = visibility.grant
    return grant.tenant_id, grant.caller_tenant_id, grant.subject
