"""What a file keeps of the label that it has in the store, where it says nothing of its own.

A label that somebody gave it there is not undone by the next edit: of sensitivities the higher one holds, of the rest
what is stored.
"""

from collections.abc import Mapping, Sequence, Set
from typing import TypeVar

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.fields import BadField, checked_sensitivity
from vecsec_client import Sensitivity, SourceLabel
from vecsec_client.values import AttributeValue

_Value = TypeVar("_Value")
_LEVELS = list(Sensitivity)
_MOST_TOLD = 16
"""Of a source's labels: of those behind, nobody knows."""


def kept_fields(
    stated: Mapping[str, object], defaults: Defaults, labels: Sequence[SourceLabel]
) -> dict[str, Sensitivity | list[str] | dict[str, object]]:
    """What of the stored labels holds against the options, by field; nothing where they say the same.

    Raises:
        BadField: if passages differ in what would be kept.
    """
    kept: dict[str, Sensitivity | list[str] | dict[str, object]] = {}
    if "sensitivity" not in stated and defaults.sensitivity is not None:
        highest = highest_of(labels)
        if _LEVELS.index(highest) > _LEVELS.index(Sensitivity(defaults.sensitivity)):
            kept["sensitivity"] = highest
    if "topics" not in stated and defaults.topics:
        topics = _one_of("topics", [sorted(each.topics) for each in labels])
        if topics and topics != sorted(set(defaults.topics)):
            kept["topics"] = topics
    if "attributes" not in stated:
        attributes = _one_of("attributes", [_listed(each.attributes) for each in labels])
        if attributes:
            kept["attributes"] = attributes
    if "readers" not in stated:
        readers = _one_of("readers", [None if each.readers is None else sorted(each.readers) for each in labels])
        if readers is not None and readers != sorted(set(defaults.readers)):
            kept["readers"] = readers
    return kept


def is_lowered(stated: Mapping[str, object], labels: Sequence[SourceLabel]) -> bool:
    """Whether a file says of itself that it is less sensitive than what is stored of it.

    Raises:
        BadField: if it says what is no sensitivity.
    """
    if "sensitivity" not in stated:
        return False
    own = Sensitivity(checked_sensitivity(stated["sensitivity"]))
    return any(each.sensitivity is None or _LEVELS.index(own) < _LEVELS.index(each.sensitivity) for each in labels)


def are_as_given(labels: Sequence[SourceLabel], defaults: Defaults) -> bool:
    """Whether all passages bear the options' label and nothing else."""
    return all(
        each.sensitivity == defaults.sensitivity
        and set(each.topics) == set(defaults.topics)
        and not each.attributes
        and set(each.readers or ()) == set(defaults.readers)
        for each in labels
    )


def highest_of(labels: Sequence[SourceLabel]) -> Sensitivity:
    """The highest sensitivity among labels.

    Raises:
        BadField: if there are others that are not told, or one that this version does not know.
    """
    known = [each.sensitivity for each in labels if each.sensitivity is not None]
    if len(known) < len(labels) or len(labels) >= _MOST_TOLD:
        raise _differ("sensitivity")
    return max(known, key=_LEVELS.index)


def _one_of(name: str, values: Sequence[_Value]) -> _Value:
    if len(values) >= _MOST_TOLD or any(each != values[0] for each in values):
        raise _differ(name)
    return values[0]


def _differ(name: str) -> BadField:
    reason = "its passages bear different labels in the store; --relabel gives all of them the file's or the options'"
    return BadField(name, reason)


def _listed(attributes: Mapping[str, AttributeValue]) -> dict[str, object]:
    return {key: sorted(value) if isinstance(value, Set) else value for key, value in attributes.items()}
