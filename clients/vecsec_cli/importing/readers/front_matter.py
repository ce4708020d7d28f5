"""The front matter of a Markdown file: YAML between two lines of `---` at its very start.

It says what the file is: its label (`sensitivity`, `topics`, `attributes`, `readers`) and, with every other key, its
metadata. Whatever cannot be read is refused: as text it would be stored under another label than its author gave it.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from vecsec_cli.importing.csv_table import split_topics
from vecsec_cli.importing.fields import split_readers

# Behind what editors leave before it, and with any end of line: of other ends than \n the close is not found.
_OPENING = re.compile(r"[\s\ufeff\u200b]*(---|\+\+\+)[ \t]*(?:\r?\n|[\r\x85\u2028\u2029]|\Z)")
_CLOSING = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_MAX_CHARACTERS = 64 << 10
_STRING_TAG = "tag:yaml.org,2002:str"
_LABEL = ("sensitivity", "topics", "attributes", "readers", "metadata")
_SCALARS = (str, int, float, bool)


class BadFrontMatter(Exception):
    """It cannot be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        """Of the file, from 1."""
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a file says of itself, and what it says."""

    body: str
    fields: dict[str, object] = field(default_factory=dict)
    """Of a document, unchecked."""
    lines: dict[str, int] = field(default_factory=dict)
    """Where each field stands, from 1; metadata by key, such as `metadata.title`."""


def split_front_matter(text: str) -> FrontMatter:
    """The front matter of a file, which may have none, and its body.

    Raises:
        BadFrontMatter: if it is none that can be read.
    """
    opening = _OPENING.match(text)
    if opening is None:
        return FrontMatter(text)
    first_line = text.count("\n", 0, opening.start(1)) + 1
    if opening[1] == "+++":
        raise BadFrontMatter(first_line, "front matter in TOML (+++) is not read; write YAML between lines of ---")
    closing = _CLOSING.search(text, opening.end())
    if closing is None:
        raise BadFrontMatter(
            first_line, "the front matter has no end, a line of ---; a rule at the start is written ***"
        )
    if closing.start() - opening.end() > _MAX_CHARACTERS:
        raise BadFrontMatter(first_line, f"the front matter is longer than {_MAX_CHARACTERS >> 10} KiB")
    values, lines = _mapping(text[opening.end() : closing.start()], first_line)
    return _front_matter(text[closing.end() :], values, lines)


class _Loader(yaml.SafeLoader):
    """YAML as its core schema has it: `yes`, `12:30`, `2024-01-01` and `007` are texts, for so they were written."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):  # a few lines of them can stand for a billion values
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=event.start_mark)
        if event.tag is not None:  # sets, bytes, moments: no document has them, and PyYAML fails on bad ones
            raise yaml.MarkedYAMLError(problem="tags (!name) are not read", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = "a key must be a text" if key.tag != _STRING_TAG else f"the key {key.value!r} stands twice"
            if key.tag != _STRING_TAG or key.value in seen:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _first)


def _mapping(text: str, line_before: int) -> tuple[dict[str, object], dict[str, int]]:
    """The values by key, and the line of each key, of YAML that stands behind this line of the file."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise BadFrontMatter(line_before, "the front matter must be lines of `key: value`")
        values: dict[str, object] = loader.construct_document(node)
        return values, {key.value: line_before + key.start_mark.line + 1 for key, _ in node.value}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise BadFrontMatter(line_before + line, f"not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # a character that YAML forbids, a number of thousands of digits, brackets nested thousands deep
        raise BadFrontMatter(line_before, "the front matter is not YAML that can be read") from error


def _front_matter(body: str, values: dict[str, object], lines: dict[str, int]) -> FrontMatter:
    """The fields of a document: the label's own by name, in any case, and all others as metadata."""
    fields: dict[str, object] = {}
    others: dict[str, object] = {}
    places: dict[str, int] = {}
    for key, value in values.items():
        name = key.lower()
        if name not in _LABEL:
            others[key] = value
            places[f"metadata.{key}"] = lines[key]
        elif name in fields:
            raise BadFrontMatter(lines[key], f"{name} stands twice")
        elif value is None and name != "metadata":
            # Somebody began to say who may read this: the option's label might be a wider one.
            raise BadFrontMatter(lines[key], f"{name} has no value; write one, or take the line away")
        else:
            fields[name] = value
            places[name] = lines[key]
    if isinstance(topics := fields.get("topics"), str):
        fields["topics"] = split_topics(topics)
    if isinstance(readers := fields.get("readers"), str):
        fields["readers"] = split_readers(readers)
    metadata = {} if fields.get("metadata") is None else fields["metadata"]
    if isinstance(metadata, dict):
        for key in others.keys() & metadata.keys():
            raise BadFrontMatter(lines[key], f"{key} stands in metadata, too")
        fields["metadata"] = _as_metadata({**others, **metadata})
    return FrontMatter(body, fields, places)


def _as_metadata(values: dict[str, object]) -> dict[str, object]:
    """Metadata have no lists: one of scalars becomes a text with commas, as tags have it. Null is no value."""
    return {
        key: ", ".join(str(each) for each in value)
        if isinstance(value, list) and all(isinstance(each, _SCALARS) for each in value)
        else value
        for key, value in values.items()
        if value is not None
    }
