"""Markdown, with front matter."""

from vecsec_cli.importing.readers.front_matter import BadFrontMatter, split_front_matter
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting import markdown


def read(text: str, longest: int) -> Reading:
    """Read a file's text; `longest` is that of what is kept whole.

    Raises:
        NotRead: if its front matter cannot be read.
    """
    try:
        front = split_front_matter(text)
    except BadFrontMatter as bad:
        raise NotRead("its front matter cannot be read:", bad.reason, line=bad.line) from bad
    return Reading(markdown.blocks(front.body, longest), fields=front.fields, lines=front.lines)
