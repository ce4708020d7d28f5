"""What of a framework's metadata a row can keep, and how many rows one call takes."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from vecsec_client.values import Scalar

MADE_UP_KEY = "vecsec_made_up"
"""In the metadata of made-up (mock) rows, which come only to whoever asked for them: why they are made up."""
MOST_AT_A_TIME = 1000
"""Rows of one call."""

_INTEGERS = range(-(2**63), 2**63)
_MOST_CHARACTERS = 4096
"""Of one text in a row's metadata."""
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")


def is_kept(key: str, value: object) -> bool:
    """Whether this is metadata of a row, for which filters can ask: no list, no null, no long text, no odd key."""
    if _KEY.fullmatch(key) is None:
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= _MOST_CHARACTERS
    return isinstance(value, int) and value in _INTEGERS


def refuse_unkeepable(metadata: Mapping[Any, Any]) -> None:
    """Let through what comes back as it was, if not as metadata of the row then as JSON within it; tuples as lists.

    Raises:
        ValueError: naming the key that would not, and what to do.
    """
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise ValueError(f"metadata: the key {key!r} is no text; keys are texts")
        if key == MADE_UP_KEY:
            raise ValueError(f"metadata[{key!r}]: the document is made up (mock) and is not stored as a real one")
        if not is_kept(key, value):
            _refuse_no_json(f"metadata[{key!r}]", value)


def _refuse_no_json(place: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: {value} cannot be kept; leave the key out")
    if value is None or isinstance(value, str | int | float):
        return
    if isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _refuse_no_json(f"{place}[{index}]", each)
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for key, each in value.items():
            _refuse_no_json(f"{place}[{key!r}]", each)
    else:
        raise ValueError(
            f"{place}: a {type(value).__name__} cannot be kept, only what JSON has (texts, numbers, booleans, nulls, "
            "lists, dictionaries with texts as keys); store it as a text"
        )


def as_json(value: object) -> str:
    """The value as JSON, in few characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def in_parts(key: str, text: str) -> dict[str, str]:
    """A text of any length as metadata of a row: under this key, and what is left under KEY.1, KEY.2 and so on."""
    parts = [text[start : start + _MOST_CHARACTERS] for start in range(0, max(1, len(text)), _MOST_CHARACTERS)]
    return {key if number == 0 else f"{key}.{number}": part for number, part in enumerate(parts)}


def joined(key: str, metadata: Mapping[str, object]) -> str | None:
    """The text that was put there in parts; None if there is none."""
    if key not in metadata:
        return None
    parts = [str(metadata[key])]
    while (following := f"{key}.{len(parts)}") in metadata:
        parts.append(str(metadata[following]))
    return "".join(parts)


def is_part(name: str, key: str) -> bool:
    """Whether a part of the text under `key` may be under this name."""
    return name == key or (name.startswith(f"{key}.") and name.removeprefix(f"{key}.").isdigit())


def row_count(name: str, value: object) -> int:
    """How many rows are wanted.

    Raises:
        ValueError: if nobody can have that many.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_AT_A_TIME:
        raise ValueError(f"{name}: must be 1 to {MOST_AT_A_TIME:,}, not {str(value)[:80]}")
    return value


def scalars(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """What of this metadata filters can ask for."""
    return {key: value for key, value in metadata.items() if is_kept(key, value)}
