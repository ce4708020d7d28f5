"""Which of a document's metadata is the row's label; the same in every framework."""

from vecsec_client.frameworks.labels import Label, LabelKeys, Labelling

__all__ = ["Label", "LabelKeys", "Labelling"]
