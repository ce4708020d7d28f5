"""The refusal where the shared flag is off and nothing may be made up."""

from vecsec_chassis.errors import RealRetrievalOff

_RETRY_AFTER_SECONDS = 30.0
"""An operator turns the flag, so there is no use in asking every second."""


def real_retrieval_off() -> RealRetrievalOff:
    """The error; retrieval says the same where it sees the flag first."""
    return RealRetrievalOff(
        "real vector retrieval is switched off for this tenant (USE_REAL_VECTOR_RETRIEVAL)",
        retry_after=_RETRY_AFTER_SECONDS,
    )
