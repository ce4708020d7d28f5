"""Where an import goes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where and how documents are stored: what `VecSecClient.import_documents` takes beside them."""

    tenant: str
    collection: str
    embedding_model: str
    batch_size: int
    strict: bool
