"""Shared messages to values and back: the only place where labels and enums meet protobuf."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TypeAlias

from cachetools import LRUCache, cached

from vecsec.type.v1 import access_pb2, document_pb2, label_pb2, query_pb2, sensitivity_pb2, tenant_limits_pb2, value_pb2
from vecsec_chassis.domain.access import Action, ViolationType
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import LONGEST_NAME, READERS, fault_of
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.domain.tenant_limits import TenantLimits
from vecsec_chassis.telemetry.metrics import CacheUse

Scalar = str | int | float | bool
ActionNumber: TypeAlias = "access_pb2.Action.ValueType"
ViolationNumber: TypeAlias = "access_pb2.ViolationType.ValueType"
SearchModeNumber: TypeAlias = "query_pb2.SearchMode.ValueType"
MetricNumber: TypeAlias = "document_pb2.SimilarityMetric.ValueType"
SensitivityNumber: TypeAlias = "sensitivity_pb2.Sensitivity.ValueType"

_ACTION_OF_NUMBER = {access_pb2.Action.Value(f"ACTION_{action.name}"): action for action in Action}
_NUMBER_OF_ACTION = {action: number for number, action in _ACTION_OF_NUMBER.items()}
_VIOLATION_OF_NUMBER = {
    access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{violation.value.upper()}"): violation
    for violation in ViolationType
}
_NUMBER_OF_VIOLATION = {violation: number for number, violation in _VIOLATION_OF_NUMBER.items()}

_SENSITIVITY_OF_NUMBER = {
    sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{sensitivity.name}"): sensitivity for sensitivity in Sensitivity
}
_MODE_OF_NUMBER = {
    query_pb2.SearchMode.Value(f"SEARCH_MODE_{'UNSPECIFIED' if mode is SearchMode.AUTO else mode.name}"): mode
    for mode in SearchMode
}
_NUMBER_OF_MODE = {mode: number for number, mode in _MODE_OF_NUMBER.items()}
_METRIC_OF_MODE = {
    SearchMode.VECTOR: document_pb2.SIMILARITY_METRIC_COSINE,
    SearchMode.TEXT: document_pb2.SIMILARITY_METRIC_BM25,
    SearchMode.HYBRID: document_pb2.SIMILARITY_METRIC_FUSED_RANKS,
}
_NUMBER_OF_SENSITIVITY = {sensitivity: number for number, sensitivity in _SENSITIVITY_OF_NUMBER.items()}
_REMEMBERED_LABELS_BYTES = 16 * 1024 * 1024
"""A tenant has few distinct labels and many rows; writers choose how much a label holds, so bytes are bounded."""


def action_from_proto(number: ActionNumber) -> Action:
    """The action; the proto's own rules have refused the unspecified one."""
    return _ACTION_OF_NUMBER[number]


def action_to_proto(action: Action) -> ActionNumber:
    return _NUMBER_OF_ACTION[action]


def violation_type_from_proto(number: ViolationNumber) -> ViolationType | None:
    return _VIOLATION_OF_NUMBER.get(number)


def violation_type_to_proto(violation: ViolationType | None) -> ViolationNumber:
    return access_pb2.VIOLATION_TYPE_UNSPECIFIED if violation is None else _NUMBER_OF_VIOLATION[violation]


def search_mode_from_proto(number: SearchModeNumber) -> SearchMode:
    """The mode; AUTO for one that this version does not know, which the proto's own rules refuse in requests."""
    return _MODE_OF_NUMBER.get(number, SearchMode.AUTO)


def search_mode_to_proto(mode: SearchMode) -> SearchModeNumber:
    return _NUMBER_OF_MODE[mode]


def metric_to_proto(mode: SearchMode) -> MetricNumber:
    """What the scores of a search in this mode mean."""
    return _METRIC_OF_MODE[mode]


def sensitivity_from_proto(number: SensitivityNumber) -> Sensitivity | None:
    """The sensitivity, or None where the row has none."""
    return _SENSITIVITY_OF_NUMBER[number] if number else None


def sensitivity_to_proto(sensitivity: Sensitivity | None) -> SensitivityNumber:
    if sensitivity is None:
        return sensitivity_pb2.SENSITIVITY_UNSPECIFIED
    return _NUMBER_OF_SENSITIVITY[sensitivity]


def label_from_proto(message: label_pb2.Label, field: str = "label") -> Label:
    """The label, half-tagged if the message is; `field` is its path in the request.

    Raises:
        InvalidRequest: as `attributes_from_proto`.
    """
    return Label(
        tenant_id=message.tenant_id,
        sensitivity=sensitivity_from_proto(message.sensitivity),
        topics=frozenset(message.topics),
        attributes=_label_attributes(message, field),
    )


@cached(
    LRUCache(_REMEMBERED_LABELS_BYTES, getsizeof=lambda label: 2 * label.weight),
    key=lambda serialized, field="label": serialized,
    info=True,
)
def label_from_bytes(serialized: bytes, field: str = "label") -> Label:
    """As `label_from_proto`, of a message's bytes and remembered by these. So equal labels are mostly one object, which
    knows its hash and is found in tables without comparing.

    Raises:
        InvalidRequest: as `label_from_proto`.
    """
    return label_from_proto(label_pb2.Label.FromString(serialized), field)


CACHES: Mapping[str, Callable[[], CacheUse]] = {"labels_read": label_from_bytes.cache_info}
"""How this module's cache is used, by its name in metrics."""


def label_bytes(label: Label) -> bytes:
    """The label's message, serialised: made once and kept on the label. The message itself would take more memory than
    the label."""
    if not label.serialized:
        object.__setattr__(label, "serialized", label_to_proto(label).SerializeToString())
    return label.serialized


def label_message(label: Label) -> label_pb2.Label:
    """As `label_to_proto`, from the bytes that are kept: a fifth of the time."""
    return label_pb2.Label.FromString(label_bytes(label))


def label_to_proto(label: Label) -> label_pb2.Label:
    message = label_pb2.Label(
        tenant_id=label.tenant_id,
        sensitivity=sensitivity_to_proto(label.sensitivity),
        topics=sorted(label.topics),
    )
    for name, value in label.attributes:
        if name == READERS and isinstance(value, frozenset):
            message.readers.CopyFrom(label_pb2.Readers(names=sorted(value)))
        else:
            message.attributes[name].CopyFrom(_attribute_to_proto(value))
    return message


def new_attributes(
    message: document_pb2.DocumentInput | label_pb2.LabelChange, field: str
) -> tuple[tuple[str, AttributeValue], ...]:
    """The attributes of a new label, its readers among them; `field` is the path in the request of the document, or of
    the change of labels.

    Raises:
        InvalidRequest: as `attributes_from_proto`, or naming a reader that is neither a user nor a group.
    """
    readers = message.readers.names if message.HasField("readers") else None
    if READERS in message.attributes and message.attributes[READERS].HasField("string_list_value"):
        readers = message.attributes[READERS].string_list_value.values
    if readers is not None:
        fault = fault_of(readers)
        if fault is not None:
            raise InvalidRequest.of(f"{field}.readers[{fault[0]}]", fault[1])
        if not readers:
            raise InvalidRequest.of(f"{field}.readers", "is empty: nobody could read it; name readers, or leave it out")
    return _label_attributes(message, field)


def _label_attributes(
    message: label_pb2.Label | document_pb2.DocumentInput | label_pb2.LabelChange, field: str
) -> tuple[tuple[str, AttributeValue], ...]:
    attributes = attributes_from_proto(message.attributes, f"{field}.attributes")
    if not message.HasField("readers"):
        return attributes
    if READERS in message.attributes:
        raise InvalidRequest.of(f"{field}.attributes['{READERS}']", "is set in `readers`, too; set it there alone")
    names = message.readers.names
    if any(len(name) > LONGEST_NAME for name in names):
        raise InvalidRequest.of(f"{field}.readers", f"must be names of at most {LONGEST_NAME} characters")
    return canonical_attributes({**dict(attributes), READERS: frozenset(names)})


def attributes_from_proto(
    messages: Mapping[str, value_pb2.Value], field: str
) -> tuple[tuple[str, AttributeValue], ...]:
    """A label's attributes; `field` is their path in the request.

    Raises:
        InvalidRequest: if an attribute is a floating-point number, which Cedar has no type for, or bears the name of
            one of the label's own parts, which it would stand in for where the label lacks it.
    """
    if not messages:
        return ()
    for name in sorted(OWN_PARTS & messages.keys()):
        raise InvalidRequest.of(f"{field}[{name!r}]", "is a part of every label and cannot be set here")
    return canonical_attributes(
        {name: _attribute_from_proto(message, f"{field}[{name!r}]") for name, message in messages.items()}
    )


def value_from_proto(message: value_pb2.Value) -> Scalar:
    """A metadata value; the proto's own rules have refused lists and empty values."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidRequest.of("value", "set exactly one kind of value")
    scalar: Scalar = getattr(message, kind)
    return scalar


def value_to_proto(value: Scalar) -> value_pb2.Value:
    if isinstance(value, bool):
        return value_pb2.Value(boolean_value=value)
    if isinstance(value, int):
        return value_pb2.Value(integer_value=value)
    if isinstance(value, float):
        return value_pb2.Value(number_value=value)
    return value_pb2.Value(string_value=value)


def _attribute_from_proto(message: value_pb2.Value, field: str) -> AttributeValue:
    kind = message.WhichOneof("kind")
    if kind == "string_list_value":
        return frozenset(message.string_list_value.values)
    if kind is None or kind == "number_value":
        raise InvalidRequest.of(field, "must be a text, a whole number, a boolean or a list of texts")
    attribute: str | int | bool = getattr(message, kind)
    return attribute


def _attribute_to_proto(value: AttributeValue) -> value_pb2.Value:
    if isinstance(value, frozenset):
        return value_pb2.Value(string_list_value=value_pb2.StringList(values=sorted(value)))
    return value_to_proto(value)


def tenant_limits_to_proto(limits: TenantLimits) -> tenant_limits_pb2.TenantLimits:
    """Limits as their message, whose fields are called alike."""
    return tenant_limits_pb2.TenantLimits(**asdict(limits))


def tenant_limits_from_proto(message: tenant_limits_pb2.TenantLimits) -> TenantLimits:
    """The limits that a message of our policy service has."""
    return TenantLimits(**{field.name: getattr(message, field.name) for field in fields(TenantLimits)})
