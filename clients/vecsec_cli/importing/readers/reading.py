"""What readers of files give back, or say where they cannot."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vecsec_client.splitting.blocks import Block

MAX_TEXT_BYTES = 16 << 20
"""Of a file that is read whole, unpacked."""


class NotRead(Exception):
    """A file that cannot be read; the others go on."""

    def __init__(self, reason: str, detail: str = "", *, line: int | None = None) -> None:
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason
        """In words that all files have in common which fail alike."""
        self.detail = detail
        """What is this file's own."""
        self.line = line
        """Where it is bad, from 1, if it is one line."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that was read."""

    blocks: Iterable[Block]
    title: str = ""
    """What it says of itself apart from its text; metadata and part of what is embedded."""
    fields: dict[str, object] = field(default_factory=dict)
    """What it says of its label and metadata, unchecked."""
    lines: dict[str, int] = field(default_factory=dict)
    """Where each of these stands, from 1; metadata by key, such as `metadata.title`."""

    def line_of(self, name: str) -> int | None:
        """Where a field, or the part of one such as `topics[2]`, stands."""
        whole = name.partition("[")[0]
        return self.lines.get(whole, self.lines.get(whole.partition(".")[0]))
