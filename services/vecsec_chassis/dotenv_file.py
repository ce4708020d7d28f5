"""`.env` of the current folder, looked through before it is believed: its reader passes over what it cannot read."""

from pathlib import Path

from dotenv.parser import parse_stream

from vecsec_chassis.errors import StartupError

DOTENV = ".env"


def demand_whole_dotenv(path: Path) -> None:
    """Refuse a file of which some setting would be silently left out. No file is fine.

    Raises:
        StartupError: naming the line.
    """
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8") as stream:
            broken = next(
                (each for each in parse_stream(stream) if each.error or (each.key and each.value is None)), None
            )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StartupError(f"{path.absolute()}: {reason}; correct it, or take it away") from error
    if broken is not None:
        raise StartupError(
            f"{path.absolute()}:{broken.original.line}: not NAME=value, or half of it; write the whole line again"
        )
