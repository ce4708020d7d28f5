"""`.env` files, read whole or not at all, as the services read theirs: the library passes over what it cannot read."""

import io
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from vecsec_cli.failures import CommandFailure


def read_dotenv(path: Path) -> dict[str, str]:
    """The settings of a file; none, if there is no file.

    Raises:
        CommandFailure: naming the line that is not one.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailure(f"{path.absolute()}: {reason}", hint="correct it, or take it away") from error
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key and line.value is None):
            raise CommandFailure(
                f"{path.absolute()}:{line.original.line}: not NAME=value, or half of it",
                hint="write the whole line again",
            )
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}
