"""YAML (and so JSON) read with positions, so that every complaint about a policy file names file, line and reason."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vecsec_chassis.domain.errors import ConfigurationError

_STRING_TAG = "tag:yaml.org,2002:str"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_BOOLEAN_TAG = "tag:yaml.org,2002:bool"
_BOOLEANS = {"true": True, "false": False}
_MAXIMUM_FILE_BYTES = 8 << 20
"""Some 100,000 tenants."""
_MAXIMUM_DEPTH = 50
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's is ten times as fast, but composing overflows its stack on deep nesting: `_check_depth` comes before."""


class Positioned:
    """One value of a file, which knows where it stands. Its readers either give the type asked for or refuse."""

    def __init__(self, path: Path, node: yaml.Node) -> None:
        self._path = path
        self._node = node

    @classmethod
    def parse(cls, path: Path, text: str) -> "Positioned":
        """Read the only document of a file's text; the path is for complaints.

        Raises:
            ConfigurationError: if it is not YAML or is empty.
        """
        try:
            _check_depth(path, text)
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            # Of a file that ends too early, some releases of libyaml name the line after the last.
            line = min(line, max(len(text.splitlines()), 1))
            if "nesting depth" in (error.problem or ""):
                # PyYAML 6.0.4 scans ahead and stops at a depth of its own before it tells of the first bracket.
                raise ConfigurationError(_too_deep(path, line)) from error
            raise ConfigurationError(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        if node is None:
            raise ConfigurationError(f"{path}:1: the file is empty")
        return cls(path, node)

    @property
    def place(self) -> str:
        """Where it stands: `file:line`."""
        return f"{self._path}:{self._node.start_mark.line + 1}"

    @property
    def is_mapping(self) -> bool:
        """Whether it has entries."""
        return isinstance(self._node, yaml.MappingNode)

    def refuse(self, reason: str) -> NoReturn:
        """Complain about this value."""
        raise ConfigurationError(f"{self.place}: {reason}")

    def text(self, what: str) -> str:
        """The value as text; a bare number, `yes` or `null` is not text."""
        if not isinstance(self._node, yaml.ScalarNode) or self._node.tag != _STRING_TAG:
            self.refuse(f"{what} must be text (put it in quotes if it looks like something else)")
        return str(self._node.value)

    def scalar(self) -> str:
        """The value as it stands in the file, if it is no list and no mapping; else empty."""
        return str(self._node.value) if isinstance(self._node, yaml.ScalarNode) else ""

    def boolean(self, what: str) -> bool:
        """The value as true or false; YAML's other spellings (`yes`, `on`) are refused rather than guessed."""
        node = self._node
        if not isinstance(node, yaml.ScalarNode) or node.tag != _BOOLEAN_TAG or node.value not in _BOOLEANS:
            self.refuse(f"{what} must be true or false")
        return _BOOLEANS[node.value]

    def number(self, what: str, least: float, most: float) -> float:
        """The value as a number within bounds."""
        node, number = self._node, float("nan")
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBER_TAGS:
            with suppress(ValueError):  # YAML has spellings of numbers that we need not know
                number = float(node.value)
        if not least <= number <= most:
            self.refuse(f"{what} must be a number from {least:g} to {most:g}")
        return number

    def items(self, what: str) -> Iterator["Positioned"]:
        """The members of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.refuse(f"{what} must be a list")
        return (Positioned(self._path, node) for node in self._node.value)

    def entries(self, what: str) -> dict[str, tuple["Positioned", "Positioned"]]:
        """The entries of a mapping: name to (the name's place, the value). A name that stands twice is refused."""
        if not isinstance(self._node, yaml.MappingNode):
            self.refuse(f"{what} must be a mapping of names to values")
        entries: dict[str, tuple[Positioned, Positioned]] = {}
        for key_node, value_node in self._node.value:
            key = Positioned(self._path, key_node)
            name = key.text(f"a name in {what}")
            if name in entries:
                key.refuse(f"{name!r} stands twice in {what}")
            entries[name] = (key, Positioned(self._path, value_node))
        return entries

    def member(self, step: str | int) -> "Positioned | None":
        """What a mapping has under a name, or a list at a place; None if there is nothing."""
        if isinstance(step, int):
            members: list[yaml.Node] = self._node.value if isinstance(self._node, yaml.SequenceNode) else []
            return Positioned(self._path, members[step]) if step < len(members) else None
        pairs = self._node.value if isinstance(self._node, yaml.MappingNode) else []
        return next((Positioned(self._path, value) for key, value in pairs if key.value == step), None)

    def plain(self) -> object:
        """The value as Python has it: texts, numbers, truth values, lists and dictionaries of them."""
        try:
            found: object = yaml.constructor.SafeConstructor().construct_object(self._node, deep=True)
        except yaml.YAMLError as error:
            self.refuse(" ".join(str(error).split()))
        return found

    def fields(self, what: str, known: frozenset[str]) -> dict[str, "Positioned"]:
        """The entries of a mapping whose names are fixed; an unknown one is refused: it is a typing error."""
        fields = {}
        for name, (key, value) in self.entries(what).items():
            if name not in known:
                key.refuse(f"{what} has no field {name!r}; known are {', '.join(sorted(known))}")
            fields[name] = value
        return fields


def _check_depth(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAXIMUM_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            raise ConfigurationError(_too_deep(path, line))


def _too_deep(path: Path, line: int) -> str:
    return f"{path}:{line}: nested more than {_MAXIMUM_DEPTH} deep"


def read_text(path: Path) -> str:
    """The text of a policy file.

    Raises:
        ConfigurationError: if it is missing, unreadable, too large or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAXIMUM_FILE_BYTES + 1)
        if len(content) > _MAXIMUM_FILE_BYTES:
            raise ConfigurationError(
                f"{path}: larger than {_MAXIMUM_FILE_BYTES >> 20} MiB, which no policy file should be"
            )
        return content.decode()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: not UTF-8 text") from error
