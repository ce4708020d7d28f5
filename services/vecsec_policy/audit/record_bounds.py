"""How large what callers choose may make an audit record. Pure.

Callers make labels up, in `ExplainAccess`, and a record is kept for long. What does not fit is left out, and the record
says of it how much it was and its SHA-256: whoever has the label can prove that it is the one. The log's own hashes are
over what is written, so a chain with such records is verified as any other.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

MOST_LABEL_CHARACTERS = 8_192
"""Of a label's JSON: some 200 readers."""
MOST_ROWS_CHARACTERS = 262_144
"""Of the JSON of all rows of a record: a thousand usual labels."""
MOST_CALLER_CHARACTERS = 4_096
"""Of the JSON of what a token says of a caller beside the claims that every token has."""
_MOST_NAMES_CHARACTERS = 512

JsonObject = Mapping[str, object]


def compact(value: object) -> str:
    """JSON as records have it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def bounded_label(attributes: JsonObject) -> tuple[str, JsonObject | None]:
    """The JSON of a label, and what to say where parts of it were left out."""
    text = compact(attributes)
    if len(text) <= MOST_LABEL_CHARACTERS:
        return text, None
    kept, left_out = fitting(attributes, MOST_LABEL_CHARACTERS)
    return compact(kept), {**measured(text), "attributes": _bounded_names(left_out)}


def fitting(values: JsonObject, most_characters: int) -> tuple[dict[str, object], list[str]]:
    """As many of the values as fit, the shortest first, and the names of the others."""
    kept: dict[str, object] = {}
    left_out = []
    for name, size in sorted(((name, len(compact({name: value}))) for name, value in values.items()), key=_by_size):
        most_characters -= size
        if most_characters >= 0:
            kept[name] = values[name]
        else:
            left_out.append(name)
    return kept, sorted(left_out)


def fitting_rows(rows: Sequence[str], most_characters: int) -> int:
    """How many rows' JSON fit, from the first."""
    for count, text in enumerate(rows):
        most_characters -= len(text) + 1
        if most_characters < 0:
            return count
    return len(rows)


def measured(text: str) -> dict[str, object]:
    """How long what is left out was, and its hash."""
    content = text.encode()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _by_size(named: tuple[str, int]) -> tuple[int, str]:
    return named[1], named[0]


def _bounded_names(names: Iterable[str]) -> list[str]:
    kept: list[str] = []
    room = _MOST_NAMES_CHARACTERS
    for name in names:
        room -= len(name)
        if room < 0:
            return [*kept, "…"]
        kept.append(name)
    return kept
