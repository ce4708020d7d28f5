"""Plain text."""

from vecsec_cli.importing.readers.reading import Reading
from vecsec_client.splitting import plain_text


def read(text: str, longest: int) -> Reading:
    """Read a file's text."""
    return Reading(plain_text.blocks(text))
