"""Reads from a schema what rows may carry, and refuses what the two walls would read differently.

Retrieval decides on labels by the rules alone, the check by rules and schema. Both say the same where each attribute of
a row is optional and of a type that labels have. A type that looks into texts (decimal, ipaddr, datetime, duration) is
a text to retrieval and something else to the check; records, entities and sets of anything else fit no label at all.
"""

import re
from collections.abc import Callable, Iterator

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Sensitivity
from vecsec_policy.cedar.entities import DOCUMENT_TYPE
from vecsec_policy.folder.policy_source import PolicySource

_MOST_ATTRIBUTES = 64
"""Their names and types travel with every grant."""
_CARRIED_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""As in the contract (vecsec.type.v1.Label)."""
_REMEDY = "declare it as String, Long, Bool or Set<String>"
_DAYS = "days can be numbers that compare as days do, such as 20260131"
_OWN_TYPES = {"tenant_id": AttributeType.STRING, "sensitivity": AttributeType.LONG, "topics": AttributeType.TEXTS}
_SAMPLES: dict[AttributeType, AttributeValue] = {
    AttributeType.STRING: "\N{REPLACEMENT CHARACTER} no number, no date, no address",
    AttributeType.LONG: int(Sensitivity.PUBLIC),
    AttributeType.BOOL: True,
    AttributeType.TEXTS: frozenset({"\N{REPLACEMENT CHARACTER} no number, no date, no address"}),
}
"""A value for each type that no other takes: types that look into texts refuse one that has none of their forms."""

_NOT_CODE = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"', re.DOTALL)
_EXTENSION = re.compile(r"[:<=]\s*(?:__cedar::)?(?P<type>decimal|ipaddr|datetime|duration)\b")
_DOCUMENT = re.compile(r"\bentity\b(?P<names>[^;{=]*\bDocument\b[^;{=]*)=?\s*\{")
_ATTRIBUTE = re.compile(
    r'(?:\s|,|@\w+(?:\(\s*"(?:\\.|[^"\\])*"\s*\))?)*(?P<name>"(?:\\.|[^"\\])*"|\w+)\s*(?P<optional>\??)\s*:'
)


def read_label_schema(source: PolicySource, takes: Callable[[str, AttributeValue], bool]) -> LabelSchema:
    """The attributes that the schema lets rows carry; `takes` is Cedar's word on a row with a single attribute.

    Raises:
        ConfigurationError: with file, line and remedy, where the two walls would read something of it differently.
    """
    text = _without_comments(source.schema_text)
    extension = _EXTENSION.search(_blanked(text))
    if extension is not None:
        remedy = f"{_REMEDY}; {_DAYS}" if extension["type"] in {"datetime", "duration"} else _REMEDY
        raise _complaint(
            source,
            extension.start("type"),
            f"the type {extension['type']} is read differently by retrieval and by the check; {remedy}",
        )
    body = _DOCUMENT.search(_blanked(text))
    if body is None:
        raise ConfigurationError(
            f"{source.schema_path}: declares no `entity {DOCUMENT_TYPE} = {{ … }}`; rows are those"
        )
    attributes = list(_attributes(text, body.end()))
    for name, is_optional, position in attributes:
        if not is_optional:
            raise _complaint(
                source,
                position,
                f"{DOCUMENT_TYPE}.{name} is required, and rows without it would be for nobody; write `{name}?:`",
            )
    types: dict[str, AttributeType] = {}
    for name, _, position in attributes:
        if _CARRIED_NAME.fullmatch(name) is None:
            raise _complaint(
                source,
                position,
                f"no row can carry an attribute called {name!r}: 1 to 63 of a-z, 0-9, '_', from a-z on",
            )
        declared = next((each for each in AttributeType if takes(name, _SAMPLES[each])), None)
        if declared is None or _OWN_TYPES.get(name, declared) is not declared:
            remedy = f"declare it as {_OWN_TYPES[name]}" if name in _OWN_TYPES else _REMEDY
            raise _complaint(source, position, f"{DOCUMENT_TYPE}.{name} has a type that no label has; {remedy}")
        types[name] = declared
    lacking = sorted(OWN_PARTS - types.keys())
    if lacking:
        raise _complaint(
            source,
            body.start(),
            f"{DOCUMENT_TYPE} lacks {lacking[0]}, so no row would fit; add `{lacking[0]}?: {_OWN_TYPES[lacking[0]]}`",
        )
    own = {name: declared for name, declared in types.items() if name not in OWN_PARTS}
    if len(own) > _MOST_ATTRIBUTES:
        raise _complaint(
            source,
            body.start(),
            f"{DOCUMENT_TYPE} has {len(own)} attributes of its own; {_MOST_ATTRIBUTES} are the most",
        )
    return LabelSchema.of(own)


def _attributes(text: str, start: int) -> Iterator[tuple[str, bool, int]]:
    """Name, whether it is optional, and position of each attribute of the record that begins before `start`."""
    code = _blanked(text)
    position = start
    while (match := _ATTRIBUTE.match(text, position)) is not None:
        name = match["name"]
        yield name.strip('"'), bool(match["optional"]), match.start("name")
        depth, position = 0, match.end()
        while depth > 0 or code[position] not in ",}":
            depth += (code[position] in "{<") - (code[position] in "}>")
            position += 1


def _without_comments(text: str) -> str:
    """The same with blanks for comments, so that positions stay."""
    return _NOT_CODE.sub(lambda found: " " * len(found[0]) if found[0].startswith("/") else found[0], text)


def _blanked(text: str) -> str:
    """The same with nothing in its strings."""
    return _NOT_CODE.sub(lambda found: '"' * len(found[0]), text)


def _complaint(source: PolicySource, position: int, reason: str) -> ConfigurationError:
    line = source.schema_text.count("\n", 0, position) + 1
    return ConfigurationError(f"{source.schema_path}:{line}: {reason}")
