"""A collection that is not there is an empty one; the same in every framework, with a logger of its own."""

import logging

from vecsec_client.frameworks import absent
from vecsec_client.frameworks.absent import NOTHING_FOUND

__all__ = ["NOTHING_FOUND", "AbsentCollection"]

_logger = logging.getLogger(__name__)


class AbsentCollection(absent.AbsentCollection):
    """See there."""

    def __init__(self) -> None:
        super().__init__(_logger)
