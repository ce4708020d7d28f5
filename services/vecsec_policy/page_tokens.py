"""Where a listing of violations goes on. To callers a token is opaque.

It names the last violation that was shown by its incident id, which the caller has seen: a number in the log would tell
how much other tenants do. Each replica of the policy service has a log of its own, so a token has a place for each that
has answered; then following goes on whichever of them answers.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vecsec_chassis.access import ViolationType
from vecsec_chassis.errors import InvalidRequest

_MOST_REPLICAS = 32


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last violation that was shown."""

    incident_id: str
    type: ViolationType


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a listing goes on."""

    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    """By replica."""

    @staticmethod
    def parse(text: str) -> "PageToken":
        """Read a token; an empty one begins a listing.

        Raises:
            InvalidRequest: if it is none of ours.
        """
        if not text:
            return PageToken()
        try:
            fields = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            cursors = {
                str(replica): Cursor(_text(incident_id), ViolationType(kind))
                for replica, (incident_id, kind) in fields.items()
            }
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidRequest.of("page_token", "is not one that ListViolations gave") from error
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
