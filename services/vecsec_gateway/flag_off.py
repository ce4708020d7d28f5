"""The refusal where the shared flag is off and nothing may be made up."""

from vecsec_chassis.errors import RealRetrievalOff
from vecsec_gateway.peers import Flag

_RETRY_AFTER_SECONDS = 30.0
"""An operator turns the flag, so there is no use in asking every second."""


def require_real_retrieval(flag: Flag, tenant_id: str) -> None:
    """See that the flag is on for a tenant that the caller was let into: to others the flag tells of the tenant.

    Raises:
        RealRetrievalOff: if it is off; retrieval says the same where it sees the flag first.
    """
    if not flag.is_on(tenant_id):
        raise RealRetrievalOff(
            "real vector retrieval is switched off for this tenant (USE_REAL_VECTOR_RETRIEVAL)",
            retry_after=_RETRY_AFTER_SECONDS,
        )
