"""What an import comes to, of its progress."""

from dataclasses import dataclass, field

from vecsec_client.results import ImportProgress, ImportSummary, RejectedDocument

_MOST_REJECTED_KEPT = 1000
"""An import may have millions of documents, and all of them may be refused."""


@dataclass(slots=True)
class ImportSum:
    """Adds an import's progress up."""

    stored_count: int = 0
    rejected_count: int = 0
    rejected: list[RejectedDocument] = field(default_factory=list)

    def add(self, progress: ImportProgress) -> None:
        """Take the next progress."""
        self.stored_count, self.rejected_count = progress.stored_count, progress.rejected_count
        self.rejected += progress.rejected[: _MOST_REJECTED_KEPT - len(self.rejected)]

    def summary(self) -> ImportSummary:
        """What it has come to."""
        return ImportSummary(
            stored_count=self.stored_count, rejected_count=self.rejected_count, rejected=tuple(self.rejected)
        )
