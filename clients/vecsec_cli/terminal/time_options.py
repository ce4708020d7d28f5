"""Points in time as people type them: `24h`, `7d`, `2026-03-01`, `2026-03-01T12:00+01:00`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from vecsec_cli.terminal.failures import CommandFailure

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMS = "a time ago such as 90s, 30m, 24h, 7d or 2w, or a moment such as 2026-03-01 or 2026-03-01T12:00+01:00"

SinceOption = Annotated[
    str | None, typer.Option("--since", help=f"From then on: {_FORMS} (without a zone: this machine's).")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Before then; given like --since.")]


def parse_time(text: str | None, option: str) -> datetime | None:
    """The moment that an option names, in UTC; None if it was not given.

    Raises:
        CommandFailure: if it names none.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNIT[ago[2]]: float(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CommandFailure(f"{option}={text!r} is no point in time", hint=f"give {_FORMS}") from error
