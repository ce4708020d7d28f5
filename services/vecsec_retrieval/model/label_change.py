"""What is to be otherwise in labels. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import READERS

_MOST_ATTRIBUTES = 16
"""As in the contract; readers are not among them."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """All that is not named here stays as it is."""

    sensitivity: Sensitivity | None = None
    topics: frozenset[str] = frozenset()
    """None of them: the topics stay."""
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """With `readers` among them, where these are to be others."""
    removed_attributes: frozenset[str] = frozenset()

    def of(self, label: Label) -> Label:
        """The label that this one becomes.

        Raises:
            InvalidRequest: if it would have more attributes than a label may have.
        """
        attributes = {**dict(label.attributes), **dict(self.attributes)}
        for name in self.removed_attributes:
            attributes.pop(name, None)
        if len(attributes.keys() - {READERS}) > _MOST_ATTRIBUTES:
            raise InvalidRequest.of(
                "change.attributes", f"would make more than {_MOST_ATTRIBUTES} attributes of a label"
            )
        sensitivity = label.sensitivity if self.sensitivity is None else self.sensitivity
        return Label(label.tenant_id, sensitivity, self.topics or label.topics, canonical_attributes(attributes))

    def of_each(self, labels: Iterable[Label]) -> Mapping[Label, Label]:
        """What becomes of those that become something else."""
        changed = ((label, self.of(label)) for label in set(labels))
        return {before: after for before, after in changed if after != before}
