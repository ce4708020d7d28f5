"""Options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.output import OutputMode
from vecsec_client import Scalar

DEFAULT_STATE_DIRECTORY = Path(".vecsec")


def _remember_json(context: typer.Context, value: bool) -> bool:
    if isinstance(context.obj, OutputMode):
        context.obj.json = value
    return value


JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document instead of a table.", callback=_remember_json, is_eager=True),
]
StateDirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar="VECSEC_STATE_DIR",
        help=f"State directory of `vecsec up`. Default: {DEFAULT_STATE_DIRECTORY}.",
        show_default=False,
    ),
]
TenantOption = Annotated[str, typer.Option("--tenant", help="The tenant; never guessed from the token.")]
EmbeddingsOption = Annotated[
    bool, typer.Option("--include-embeddings", help="Also the vectors; for roles that may configure.")
]
AttributesOption = Annotated[
    list[str] | None,
    typer.Option("--attribute", help="A further attribute of the row's label, as key=value; may be repeated."),
]
ReadersOption = Annotated[
    list[str] | None,
    typer.Option("--reader", metavar="user:SUBJECT|group:NAME", help="Who alone may read the row; may be repeated."),
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="A condition on the metadata: key=value, key!=value, key? (is there), or key>=n, key>n, key<=n, key<n for "
        "numbers; or on the text: ~some words (contains them, case counts). '!' in front negates. Documents that lack "
        "the key match neither it nor its negation. Repeated conditions must all hold. "
        'A value in quotes ("3") is a text.',
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
CollectionOption = Annotated[
    str, typer.Option("--collection", help='The collection. Default: "documents".', show_default=False)
]


def state_directory(option: Path | None) -> StateDirectory:
    """The state directory that an option, or the lack of it, names."""
    return StateDirectory((option or DEFAULT_STATE_DIRECTORY).absolute())


def split_words(values: Iterable[str]) -> list[str]:
    """The words of options that may be repeated and may hold several words with commas between them."""
    return [word for value in values for word in (part.strip() for part in value.split(",")) if word]


def scalar(text: str) -> Scalar:
    """A value as typed on the command line: `true`, `3` and `2.5` are what they look like, `"3"` is a text."""
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return text[1:-1] if quoted else text


def key_value_pairs(values: Iterable[str], option: str) -> dict[str, Scalar]:
    """What `key=value` options say.

    Raises:
        CommandFailure: for one without a key or without `=`.
    """
    pairs: dict[str, Scalar] = {}
    for value in values:
        key, equals_sign, text = value.partition("=")
        if not key or not equals_sign:
            raise CommandFailure(f"{option} takes key=value, not {value!r}")
        pairs[key.strip()] = scalar(text)
    return pairs
