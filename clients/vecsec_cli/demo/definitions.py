"""The definitions of the Python standard library that carry documentation, found without importing any module."""

import ast
import inspect
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType

# Folders that hold no library documentation: other people's packages, tests, applications.
_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_bundled",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib-dynload",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)

# Modules written in C, which have no source to read here. Importing these has no side effects.
_COMPILED_MODULES = (
    "array",
    "binascii",
    "builtins",
    "cmath",
    "gc",
    "itertools",
    "math",
    "sys",
    "time",
    "unicodedata",
    "zlib",
)


class DefinitionKind(StrEnum):
    """What is defined."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Definition:
    """A documented definition."""

    qualified_name: str
    """Such as `json.JSONDecoder.decode`."""
    module: str
    kind: DefinitionKind
    line: int
    """Where it starts in its file, from 1; 0 where there is no source."""
    signature: str
    """Such as `(self, s, _w=WHITESPACE.match)`; empty where there is none."""
    docstring: str


def standard_library_folder() -> Path:
    """Where the running Python keeps its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def standard_library(folder: Path) -> Iterator[Definition]:
    """Every documented definition below `folder` and of the common compiled modules, each name once."""
    seen: set[str] = set()
    for definition in (*_compiled_definitions(), *_source_definitions(folder)):
        if definition.qualified_name not in seen:  # overloads, property setters, fallbacks of other platforms
            seen.add(definition.qualified_name)
            yield definition


def _source_definitions(folder: Path) -> Iterator[Definition]:
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        if _SKIPPED_FOLDERS.isdisjoint(relative.parts[:-1]) and not relative.parts[0].startswith("config-"):
            yield from _module_definitions(path, _module_name(relative))


def _module_name(relative: Path) -> str:
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module_definitions(path: Path, module: str) -> Iterator[Definition]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # a deliberately broken file, or one that this user may not read
    if docstring := ast.get_docstring(tree):
        yield Definition(module, module, DefinitionKind.MODULE, 1, "", docstring)
    yield from _nested_definitions(tree, module, module, DefinitionKind.FUNCTION)


def _nested_definitions(
    parent: ast.AST, module: str, prefix: str, function_kind: DefinitionKind
) -> Iterator[Definition]:
    """Definitions in a module or class body, also those under `if` and `try`, but not inside functions."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            name = f"{prefix}.{node.name}"
            if docstring := ast.get_docstring(node):
                yield Definition(name, module, DefinitionKind.CLASS, node.lineno, _bases(node), docstring)
            yield from _nested_definitions(node, module, name, DefinitionKind.METHOD)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if docstring := ast.get_docstring(node):
                name = f"{prefix}.{node.name}"
                yield Definition(name, module, function_kind, node.lineno, _signature(node), docstring)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _nested_definitions(node, module, prefix, function_kind)


def _bases(node: ast.ClassDef) -> str:
    return f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def _compiled_definitions() -> Iterator[Definition]:
    for name in _COMPILED_MODULES:
        try:
            module = import_module(name)
        except ImportError:
            continue  # an installation without it, such as one built without zlib
        yield from _members(module, name)


def _members(module: ModuleType, name: str) -> Iterator[Definition]:
    if module.__doc__:
        yield Definition(name, name, DefinitionKind.MODULE, 0, "", inspect.cleandoc(module.__doc__))
    for member_name, member in sorted(vars(module).items()):
        if not isinstance(member.__doc__, str) or not (inspect.isclass(member) or inspect.isbuiltin(member)):
            continue
        kind = DefinitionKind.CLASS if inspect.isclass(member) else DefinitionKind.FUNCTION
        qualified_name = f"{name}.{member_name}"
        yield _compiled_definition(qualified_name, name, kind, member)
        if inspect.isclass(member):
            yield from _methods(member, qualified_name, name)


def _methods(owner: type, prefix: str, module: str) -> Iterator[Definition]:
    for name, member in sorted(vars(owner).items()):
        if inspect.isroutine(member) and isinstance(member.__doc__, str):
            yield _compiled_definition(f"{prefix}.{name}", module, DefinitionKind.METHOD, member)


def _compiled_definition(qualified_name: str, module: str, kind: DefinitionKind, member: object) -> Definition:
    signature = getattr(member, "__text_signature__", None) or ""
    return Definition(qualified_name, module, kind, 0, signature, inspect.cleandoc(member.__doc__ or ""))
