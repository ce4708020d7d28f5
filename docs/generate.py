"""Writes what docs/reference/ says about settings, commands, metrics, exit codes and errors, from the code itself.

    python docs/generate.py            writes the pages (`make docs`)

`tests/unit/test_reference.py` fails when they are old.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import AwareDatetime, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vecsec_chassis.settings import ServiceSettings
from vecsec_chassis.tls.allowed_peers import (
    ANY_PEER,
    GATEWAY_AND_REPORTS,
    GATEWAY_AND_SHARDS,
    GATEWAY_ONLY,
    AllowedPeers,
)
from vecsec_cli.local.service_settings import service_environment, services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.main import app
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; `make docs` writes it anew. -->\n\n"
SERVICES: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "policy": PolicySettings,
    "retrieval": RetrievalSettings,
}
INSTRUMENTS = {
    "LabelledCounter": ("counter", "_total"),
    "LabelledGauge": ("gauge", ""),
    "DurationHistogram": ("histogram", "_seconds"),
    "observe_value": ("gauge", ""),
    "create_counter": ("counter", "_total"),
    "create_gauge": ("gauge", ""),
    "create_observable_counter": ("counter", "_total"),
    "create_observable_gauge": ("gauge", ""),
}
"""What makes a metric, what kind it is, and what the exporter adds to its name."""


_OBSERVED_LABELS = {
    "vecsec_cache_requests": ["cache", "result"],
    "vecsec_calls_shed": ["reason"],
    "vecsec_certificate_expiry": ["certificate"],
    "vecsec_grants_refused_for_time": ["cause"],
    "vecsec_issuer_keys": ["issuer"],
    "vecsec_issuer_keys_age": ["issuer"],
    "vecsec_memberships": ["kind"],
    "vecsec_policy_info": ["stage", "version"],
    "vecsec_policy_loaded_timestamp": ["stage"],
    "vecsec_policy_reload_failing": ["part"],
    "vecsec_shard_circuit_open": ["shard"],
    "vecsec_shard_serving": ["shard"],
    "vecsec_store_not_believed": ["shard"],
    "vecsec_tenants_near_limit": ["limit"],
}
"""Of metrics whose labels stand only where they are observed; `tests/e2e/test_metrics_reference.py` compares."""


def configuration() -> str:
    """All settings of the services, and those of the command line."""
    up = _set_by_up()
    rows: dict[str, tuple[list[str], FieldInfo]] = {}
    for service, kind in SERVICES.items():
        for field in kind.model_fields.values():
            rows.setdefault(str(field.alias), ([], field))[0].append(service)
    lines = [
        f"| `{name}` | {_of(services)} | {_type(field)} | {_default(field)}{_by_up(up.get(name))} "
        f"| {_cell(field.description)} |"
        for name, (services, field) in sorted(rows.items())
    ]
    return _CONFIGURATION + "\n".join(lines) + "\n" + _COMMAND_LINE + "\n".join(_variables_of_commands()) + "\n"


_CONFIGURATION = """# Configuration

Everything is an environment variable; `.env` in the current folder is read too. A wrong setting, or a file that is
missing or half written, ends a service's start with one line that says what to do. `vecsec doctor`, or the service
itself with `--check` (`python -m vecsec_policy --check`), says the same beforehand.

`vecsec up` sets some to files of its state directory, unless they are set already; they are named with their default.
Sizes are in bytes, durations in seconds, as the names say.

## The services

| variable | service | type | default | meaning |
| --- | --- | --- | --- | --- |
"""
_COMMAND_LINE = """
## The command line

Options of [commands](cli.md) that the environment sets, too. `vecsec flag` and `vecsec doctor` read the services' own
variables as well, such as `VECSEC_FLAG_FILE`.

| variable | option | meaning |
| --- | --- | --- |
"""


def _of(services: list[str]) -> str:
    return "all" if len(services) == len(SERVICES) else ", ".join(services)


def _type(field: FieldInfo) -> str:
    """Such as `integer, 1 to 10`."""
    if field.alias in _SIZES:
        return "size, such as `512M`"
    kind, bounds = _bare(field.annotation, tuple(field.metadata))
    limits = {name: getattr(each, name) for each in bounds for name in ("ge", "gt", "le") if hasattr(each, name)}
    low = f"above {limits['gt']:,}" if "gt" in limits else f"{limits['ge']:,}" if "ge" in limits else ""
    high = f"to {limits['le']:,}" if "le" in limits else "or more" if low else ""
    return f"{kind}, {low} {high}" if low else kind


def _bare(annotation: Any, bounds: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The word for a type, without what is wrapped around it, and the bounds found on the way."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation)), bounds
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _bare(inner, (*bounds, *_metadata(more)))
    if get_origin(annotation) is UnionType or get_origin(annotation) is Union:
        (inner,) = (each for each in get_args(annotation) if each is not type(None))
        return _bare(inner, bounds)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{_word(choice)}`" for choice in annotation), bounds
    return _WORDS[get_origin(annotation) or annotation], bounds


def _metadata(found: list[Any]) -> Iterator[Any]:
    for each in found:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]


_SIZES = frozenset({"CHROMA_MEMORY_LIMIT", "VECSEC_ANSWER_MEMORY_BYTES"})
"""Numbers that are written with a unit."""
_WORDS: dict[Any, str] = {
    AwareDatetime: "time",
    AllowedPeers: "peers",
    Path: "path",
    SecretStr: "text",
    bool: "`true`, `false`",
    dict: "JSON object",
    float: "number",
    int: "integer",
    str: "text",
}


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value == {}:
        return ""
    if isinstance(value, AllowedPeers):
        known = (ANY_PEER, GATEWAY_ONLY, GATEWAY_AND_REPORTS, GATEWAY_AND_SHARDS)
        return next(f"`{text}`" for text in known if AllowedPeers.parse(text) == value)
    if isinstance(value, float):
        return f"`{value:g}`"
    if field.alias in _BYTES:
        return f"{value // 2**20} MiB"
    return f"`{str(value).lower() if isinstance(value, bool) else _word(value)}`"


_BYTES = frozenset({"VECSEC_AUDIT_FILE_BYTES", "VECSEC_MAX_ANSWER_BYTES", "VECSEC_MAX_MESSAGE_BYTES"})


def _by_up(place: str | None) -> str:
    return "" if place is None else f" (`vecsec up`: `{place}`)"


def _set_by_up() -> dict[str, str]:
    """What `vecsec up` sets to a place in its state directory, with that place."""
    state = StateDirectory(Path("state").absolute())
    told = service_environment({}, state, services_of({}))
    below = f"{Path('state').absolute()}/"
    return {name: value.removeprefix(below) for name, value in told.items() if value.startswith(below)}


def _variables_of_commands() -> list[str]:
    found: dict[str, tuple[str, str]] = {}
    for _, command in _commands(typer.main.get_command(app), "vecsec"):
        for parameter in command.params:
            names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
            for name in names:
                found.setdefault(name, (_names(parameter), _cell(getattr(parameter, "help", ""))))
    return [f"| `{name}` | `{option}` | {meaning} |" for name, (option, meaning) in sorted(found.items())]


def command_line() -> str:
    """Each command with its arguments and options."""
    parts = [_CLI]
    for path, command in _commands(typer.main.get_command(app), "vecsec"):
        parts.append(f"## {path}\n\n{_paragraphs(command.help)}\n")
        shown = [each for each in command.params if not each.hidden and each.name not in _OF_THE_SHELL]
        arguments = " ".join(_names(each) for each in shown if each.param_type_name == "argument")
        parts.append(f"```text\n{path} [OPTIONS] {arguments}".rstrip() + "\n```\n")
        rows = [_parameter(each) for each in shown]
        if rows:
            parts.append(
                "\n".join(["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"
            )
    return "\n".join(parts)


_CLI = """# Command line

`vecsec COMMAND --help` says the same. The exit status of all commands: [exit codes](exit-codes.md). Where an option can
be set by an environment variable, that is named with it; the option goes first. `audit`, `issuers`, `panic`, `policy`
and `token inspect` need `vecsec[services]`.
"""


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, in the order of the help; groups, where they have options of their own."""
    context = typer.Context(command)
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    if any(parameter.name not in _OF_THE_SHELL for parameter in command.params):
        yield path, command
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), f"{path} {name}")


_OF_THE_SHELL = frozenset({"install_completion", "show_completion"})
"""Options of the root that typer adds; they differ from shell to shell."""


def _parameter(parameter: Any) -> str:
    text = _cell(getattr(parameter, "help", "") or "")
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
    if variables:
        text += f" Environment: {', '.join(f'`{name}`' for name in variables)}."
    default = parameter.default if getattr(parameter, "show_default", True) else None
    shown = (
        "required"
        if parameter.required
        else "on"
        if default is True
        else ""
        if default in (None, False, "", [], ())
        else f"`{_word(default)}`"
    )
    many = "; may be repeated" if parameter.multiple else ""
    return f"| `{_names(parameter)}` | {_kind(parameter)}{many} | {shown} | {text.strip()} |"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[]").upper()
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _kind(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    for inner in get_args(kind):
        kind = inner
    if kind is bool:
        return "switch"
    if issubclass(kind, Enum):
        return ", ".join(f"`{_word(choice)}`" for choice in kind)
    low, high = parameter.min, parameter.max
    bounds = f", {low:,} to {high:,}" if high is not None else f", {low:,} or more" if low is not None else ""
    return f"{_WORDS[kind]}{bounds}"


def _word(value: object) -> str:
    """A value as one would type it; files of ours without the place of this checkout."""
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return value.relative_to(ROOT / "services").as_posix()
    return str(value.value if isinstance(value, Enum) else value)


def metrics() -> str:
    """Every metric that the code defines."""
    parts = [_METRICS]
    for package in ("chassis", "gateway", "retrieval", "policy"):
        title = "All services" if package == "chassis" else package.capitalize()
        rows = sorted(set(_metrics_of(ROOT / "services" / f"vecsec_{package}")))
        parts.append(
            "\n".join([f"## {title}\n", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *rows])
            + "\n"
        )
    return "\n".join(parts)


_METRICS = """# Metrics

Each service shows its own to Prometheus, on its metrics port (`VECSEC_GATEWAY_METRICS_PORT` and so on). Labels never
hold tenants or callers. A metric with labels appears with its first value, a histogram as `_bucket`, `_sum` and
`_count`. Memory, processor time and open files of the process stand beside them (`process_…`).
"""


def _metrics_of(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        constants = _texts(ast.parse(path.read_text()))
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if function not in INSTRUMENTS:
                continue
            given = [_text(each, constants) for each in call.args]
            named = {each.arg: _text(each.value, constants) for each in call.keywords}
            texts = [text for text in given if text]
            name = next((text for text in texts if text.startswith("vecsec_")), "")
            if not name:
                continue
            after = texts[texts.index(name) + 1 :]
            meaning = named.get("description") or (after[0] if after else "")
            labels = _OBSERVED_LABELS.get(name, after[1:] if "description" not in named else [])
            kind, suffix = INSTRUMENTS[function]
            if named.get("unit") == "s" and function != "DurationHistogram":
                suffix = "_seconds" + suffix
            yield f"| `{name}{suffix}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {_cell(meaning)} |"


def _texts(module: ast.Module) -> dict[str, str]:
    """The module's constants that are texts."""
    return {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return constants.get(node.id, "") if isinstance(node, ast.Name) else ""


def exit_codes() -> str:
    """What the exit status of `vecsec` says."""
    rows = [f"| {code.value} | {code.name} | {code.meaning} |" for code in ExitCode]
    return _EXIT_CODES + "\n".join(rows) + "\n"


_EXIT_CODES = """# Exit codes

What the exit status of `vecsec` says. The numbers are part of the interface: scripts rely on them. With `--json` a
failure is one JSON object on stderr, and stdout stays empty.

| status | name | meaning |
| --- | --- | --- |
"""


def errors() -> str:
    """The reasons of errors, as the contract has them."""
    text = (ROOT / "protos" / "vecsec" / "type" / "v1" / "error_reason.proto").read_text()
    rows = []
    for comment, name in re.findall(r"((?:  // .*\n)+)  ERROR_REASON_(\w+) = \d+;", text):
        if name != "UNSPECIFIED":
            code, _, meaning = " ".join(line.strip(" /") for line in comment.splitlines()).partition(": ")
            rows.append(f"| {name} | {code} | {_cell(meaning)} |")
    return _ERRORS + "\n".join(rows) + "\n"


_ERRORS = """# Errors

Every error carries one `google.rpc.ErrorInfo` (domain `vecsec`, reason from `vecsec.type.v1.ErrorReason`). Bad fields
are named in a `BadRequest`, and `RetryInfo` says when another try makes sense.

| reason | status | meaning |
| --- | --- | --- |
"""


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _paragraphs(text: str | None) -> str:
    cleaned = inspect.cleandoc(text or "")
    return "\n\n".join(textwrap.fill(each, 120) for each in re.split(r"\n\s*\n", cleaned))


PAGES = {
    "configuration.md": configuration,
    "cli.md": command_line,
    "metrics.md": metrics,
    "exit-codes.md": exit_codes,
    "errors.md": errors,
}


def main() -> None:
    """Write all pages."""
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(NOTE + write())


if __name__ == "__main__":
    main()
