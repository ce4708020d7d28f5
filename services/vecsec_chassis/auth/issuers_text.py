"""Reads what people write as YAML or JSON, and passes over nothing: a name that stands twice is refused."""

import json
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """Refuses a name that is written twice, of which one would be passed over."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        pairs = [(self.construct_object(key, deep=True), key.start_mark.line + 1) for key, _ in node.value]
        _refuse_twice(pairs)
        return super().construct_mapping(node, deep)


def strictly_parsed(content: bytes, *, is_yaml: bool) -> object:
    """What a text of YAML or JSON says.

    Raises:
        ValueError, yaml.YAMLError, RecursionError: if it says nothing, or one name twice.
    """
    if is_yaml:
        return yaml.load(content, _StrictLoader)  # noqa: S506 (a safe one)
    return json.loads(content, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _refuse_twice([(name, 0) for name, _ in pairs])
    return dict(pairs)


def _refuse_twice(names: list[tuple[object, int]]) -> None:
    seen = set()
    for name, line in names:
        if name in seen:
            raise ValueError(f"{name!r} is written twice{f', again in line {line}' if line else ''}")
        seen.add(name)
