"""A collection that is not there is an empty one: so frameworks' stores begin, until something is stored."""

import logging
from types import TracebackType

from vecsec_client.errors import NotFound
from vecsec_client.results import SearchAnswer
from vecsec_client.values import Provenance, SimilarityMetric

NOTHING_FOUND = SearchAnswer(
    results=(),
    provenance=Provenance.REAL,
    mock_reason=None,
    metric=SimilarityMetric.COSINE,
    policy_version="",
    request_id="",
)
"""The answer of an empty collection."""


class AbsentCollection:
    """Ends a block in which a call is told that there is no such collection, and lets every other error out.

    To a caller who may read none of its documents a collection is not there either. A warning says so, for the name
    may be misspelt.
    """

    def __init__(self, logger: logging.Logger) -> None:
        """Take the framework's own logger, for the warning."""
        self._logger = logger

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, NotFound) or error.reason != "COLLECTION_NOT_FOUND":
            return False
        self._logger.warning("taken for empty: %s", error.message)
        return True
