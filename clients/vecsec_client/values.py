"""The words of the contract: sensitivities, actions, provenance. All are strings, which print and serialise well."""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Literal

Scalar = str | int | float | bool
"""A metadata value."""

AttributeValue = Scalar | AbstractSet[str]
"""A value of a label's attribute; a set stands for a Cedar set of texts."""


class Sensitivity(StrEnum):
    """How sensitive a row is, and how far a caller is cleared, in rising order."""

    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"
    CONFIDENTIAL = "CONFIDENTIAL"
    SECRET = "SECRET"  # noqa: S105 (a level, not a password)


SensitivityWord = Literal["PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET"]
"""A sensitivity as a text; a type checker finds misspelt ones."""


class Action(StrEnum):
    """What a caller wants to do with rows."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    CONFIGURE = "configure"


ActionWord = Literal["read", "write", "delete", "configure"]
"""An action as a text."""


class Provenance(StrEnum):
    """Where rows came from. Only `REAL` is real: whatever else a service may say must not be taken for it."""

    UNSPECIFIED = "PROVENANCE_UNSPECIFIED"
    REAL = "PROVENANCE_REAL"
    MOCK = "PROVENANCE_MOCK"


class MockReason(StrEnum):
    """Why an answer is made up."""

    UNSPECIFIED = "MOCK_REASON_UNSPECIFIED"
    FLAG_OFF = "MOCK_REASON_FLAG_OFF"
    RETRIEVAL_FAILED = "MOCK_REASON_RETRIEVAL_FAILED"
    CIRCUIT_OPEN = "MOCK_REASON_CIRCUIT_OPEN"


class SimilarityMetric(StrEnum):
    """What a score means."""

    UNSPECIFIED = "unspecified"
    COSINE = "cosine"
    """1 is the same direction, 0 unrelated, -1 opposite."""
    BM25 = "bm25"
    """Of the words in common: above 0, and to be compared within one answer only."""
    FUSED_RANKS = "fused_ranks"
    """Above 0; 1 is the first by similarity and by words alike."""


class SearchMode(StrEnum):
    """By what documents are found, and ordered."""

    AUTO = "auto"
    """Hybrid for a text, where the store can; else vector."""
    VECTOR = "vector"
    """By the similarity of embeddings."""
    TEXT = "text"
    """By words (BM25): only documents that have some of them, and all phrases in double quotes, which are looked for in
    8 MiB of texts at most."""
    HYBRID = "hybrid"
    """By both, by the ranks of each."""


SearchModeWord = Literal["auto", "vector", "text", "hybrid"]
"""A mode as a text."""


class ViolationType(StrEnum):
    """What kind of rule was broken; the values are those of the metrics and of the log."""

    CROSS_TENANT = "cross_tenant_violation"
    DOCUMENT_TENANT = "document_tenant_violation"
    CLEARANCE = "clearance_violation"
    ROLE_CLEARANCE = "role_clearance_violation"
    TOPIC = "topic_violation"
    PLAN_CHECK_DIVERGENCE = "plan_check_divergence"


ViolationWord = Literal[
    "cross_tenant_violation",
    "document_tenant_violation",
    "clearance_violation",
    "role_clearance_violation",
    "topic_violation",
    "plan_check_divergence",
]
"""A kind of violation as a text."""
