"""The checks that a document's fields must pass: those of the contract, made where a line number can still be named."""

import math
import re
from collections.abc import Mapping

from vecsec_client.sources import SourcePassage
from vecsec_client.values import Scalar, Sensitivity

_MAX_ID_BYTES = 512
_MAX_TEXT_BYTES = 1 << 20
_MAX_TOPICS = 32
_MAX_METADATA = 64
_MAX_ATTRIBUTES = 16
_MAX_STRING = 4096
_MAX_MEMBERS = 64
_MAX_MEMBER = 256
_MAX_DIMENSIONS = 8192
_MAX_READERS = 64
_READER_KINDS = ("user:", "group:")
_INT64 = 1 << 63
_INT32 = 1 << 31
_MAX_VERSION_BYTES = 128
_SOURCE_FIELDS = {"source_id", "version", "title", "position"}

_TOPIC = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_METADATA_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_ATTRIBUTE_KEY = re.compile(r"[a-z][a-z0-9_]{0,62}")
_BLANK = "\t\n\f\r "
"""What the contract takes for blank. A text of hard spaces, say, can be stored, so that it must be restored, too."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class BadField(Exception):
    """One field breaks a rule."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def checked_id(value: object) -> str:
    """A document id.

    Raises:
        BadField: if it breaks a rule of the contract.
    """
    identifier = _text("id", value)
    if not identifier:
        raise BadField("id", "must not be empty")
    if len(identifier.encode()) > _MAX_ID_BYTES:
        raise BadField("id", f"must be at most {_MAX_ID_BYTES} bytes")
    if identifier.startswith("mock-"):
        raise BadField("id", "the prefix mock- is reserved for made-up rows")
    if _CONTROL.search(identifier) or identifier != identifier.strip(" "):
        raise BadField(
            "id", "must hold no control character, none that turns text around, and neither start nor end with a blank"
        )
    return identifier


def checked_text(value: object) -> str:
    """A passage.

    Raises:
        BadField: if it is blank, not a text, or too long.
    """
    text = _text("text", value)
    if not text.strip(_BLANK):
        raise BadField("text", "must not be blank")
    if len(text.encode()) > _MAX_TEXT_BYTES:
        raise BadField("text", "must be at most 1 MiB; split it into passages")
    return text


def checked_sensitivity(value: object) -> Sensitivity:
    """A sensitivity by its name, in any case, as options take it.

    Raises:
        BadField: if there is none of this name.
    """
    if not isinstance(value, str) or value.upper() not in Sensitivity.__members__:
        raise BadField("sensitivity", f"unknown sensitivity {_shown(value)}; known: {', '.join(Sensitivity)}")
    return Sensitivity[value.upper()]


def checked_topics(value: object) -> tuple[str, ...]:
    """Topics, at least one, none twice.

    Raises:
        BadField: if they break a rule of the contract.
    """
    if not isinstance(value, list | tuple):
        raise BadField("topics", f"must be a list of texts, not {_shown(value)}")
    if not value:
        raise BadField("topics", "must not be empty: a document without topics is readable by nobody")
    if len(value) > _MAX_TOPICS:
        raise BadField("topics", f"must be at most {_MAX_TOPICS}")
    for index, topic in enumerate(value):
        if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
            raise BadField(f"topics[{index}]", f"{_shown(topic)} is not a topic: lower-case letters, digits and _ . -")
    if len(set(value)) != len(value):
        raise BadField("topics", "must not name a topic twice")
    return tuple(value)


def checked_metadata(value: object) -> dict[str, Scalar]:
    """The caller's own metadata: keys that filters can name, values that are texts, numbers or booleans.

    Raises:
        BadField: if it breaks a rule of the contract.
    """
    entries = _entries("metadata", value, _METADATA_KEY, _MAX_METADATA)
    return {key: _scalar(f"metadata.{key}", entry) for key, entry in entries.items()}


def checked_attributes(value: object) -> dict[str, Scalar | list[str]]:
    """Further attributes of the label, as the tenant's policy schema declares them.

    Raises:
        BadField: if they break a rule of the contract.
    """
    entries = _entries("attributes", value, _ATTRIBUTE_KEY, _MAX_ATTRIBUTES)
    return {key: _attribute(f"attributes.{key}", entry) for key, entry in entries.items()}


def checked_readers(value: object) -> tuple[str, ...]:
    """Who alone may read a document. One that nobody may read is refused: it is rather a list that got lost.

    Raises:
        BadField: if they break a rule of the contract.
    """
    if not isinstance(value, list | tuple):
        raise BadField("readers", f"must be a list of texts, not {_shown(value)}")
    if not value:
        raise BadField("readers", "is empty: nobody could read it; name readers, or leave the field out")
    if len(value) > _MAX_READERS:
        raise BadField("readers", f"must be at most {_MAX_READERS}; put them into a group")
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name.startswith(_READER_KINDS) or name in _READER_KINDS:
            raise BadField(f"readers[{index}]", f"must be user:SUBJECT or group:NAME, not {_shown(name)}")
        if len(name) > _MAX_MEMBER or not name.isprintable():
            raise BadField(f"readers[{index}]", f"must be at most {_MAX_MEMBER} printable characters: {_shown(name)}")
    return tuple(dict.fromkeys(value))


def split_readers(cell: str) -> list[str]:
    """Readers written in one text, separated by semicolons: names of groups may hold commas."""
    return [name.strip() for name in cell.split(";") if name.strip()]


def checked_embedding(value: object) -> tuple[float, ...]:
    """A vector.

    Raises:
        BadField: if it is not a list of finite numbers.
    """
    if not isinstance(value, list | tuple) or not value:
        raise BadField("embedding", "must be a list of numbers")
    if len(value) > _MAX_DIMENSIONS:
        raise BadField("embedding", f"must be at most {_MAX_DIMENSIONS} numbers")
    for index, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not _is_finite(number):
            raise BadField(f"embedding[{index}]", f"{_shown(number)} is not a finite number")
    return tuple(float(number) for number in value)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float can hold
        return False


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadField(field, f"must be a text, not {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON's \ud800 can spell
        raise BadField(field, "is not valid Unicode") from None
    return value


def _entries(field: str, value: object, key_pattern: re.Pattern[str], limit: int) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadField(field, f"must be an object, not {_shown(value)}")
    if len(value) > limit:
        raise BadField(field, f"must have at most {limit} entries")
    for key in value:
        if not isinstance(key, str) or not key_pattern.fullmatch(key):
            raise BadField(field, f"{_shown(key)} is not a key: {key_pattern.pattern}")
    return value


def _scalar(field: str, value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > _MAX_STRING:
            raise BadField(field, f"must be at most {_MAX_STRING} characters")
        return _text(field, value)
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise BadField(field, "must fit into 64 bits")
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise BadField(field, f"must be a text, a finite number or a boolean, not {_shown(value)}")


def _attribute(field: str, value: object) -> Scalar | list[str]:
    if not isinstance(value, list):
        return _scalar(field, value)
    if len(value) > _MAX_MEMBERS:
        raise BadField(field, f"must have at most {_MAX_MEMBERS} members")
    for member in value:
        if not isinstance(member, str) or len(member) > _MAX_MEMBER:
            raise BadField(field, f"members must be texts of at most {_MAX_MEMBER} characters")
        _text(field, member)
    return value


def _shown(value: object) -> str:
    """A value as a message can hold it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def checked_source(value: object) -> SourcePassage:
    """What a document is a passage of.

    Raises:
        BadField: if it breaks a rule of the contract.
    """
    if not isinstance(value, Mapping):
        raise BadField("source", f"must be an object, not {_shown(value)}")
    unknown = sorted(set(value) - _SOURCE_FIELDS)
    if unknown:
        raise BadField(
            "source", f"has an unknown key: {_shown(unknown[0])}; known: {', '.join(sorted(_SOURCE_FIELDS))}"
        )
    position = value.get("position")
    if not isinstance(position, int) or isinstance(position, bool) or not 1 <= position < _INT32:
        raise BadField("source.position", f"must be a whole number from 1, not {_shown(position)}")
    texts = {}
    for name, most in (("source_id", _MAX_ID_BYTES), ("version", _MAX_VERSION_BYTES), ("title", _MAX_ID_BYTES)):
        text = value.get(name, "")
        if not isinstance(text, str) or len(text.encode()) > most:
            raise BadField(f"source.{name}", f"must be a text of at most {most} bytes: {_shown(text)}")
        texts[name] = text
    source_id = texts["source_id"]
    if not source_id or _CONTROL.search(source_id) or source_id != source_id.strip(" "):
        raise BadField("source.source_id", "must be a text without control characters, and without blanks around it")
    return SourcePassage(position=position, **texts)
