"""Holds a call that had to wait to its grant once more."""

import time

from vecsec_chassis.domain.access import Grant
from vecsec_chassis.domain.errors import InvalidGrant


def require_living(grant: Grant) -> None:
    """See that a grant, verified when the call came in, holds still; to be asked right before something is changed.

    Raises:
        InvalidGrant: if it has expired meanwhile.
    """
    late = time.time() - grant.expires_at
    if late >= 0:
        raise InvalidGrant(
            "the grant is missing, expired or not valid; plan access again",
            detail=f"expired {late:.1f} s ago, while the call waited for its turn to write",
        )
