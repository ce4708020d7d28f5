"""By what a search finds documents, and orders them."""

from enum import StrEnum


class SearchMode(StrEnum):
    """The values are what metrics, logs and audit records say."""

    AUTO = "auto"
    """As good as can be: what it comes to depends on what is looked for and where, and not on what is found."""
    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"
