"""Documents with long texts as several documents."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from vecsec_client.results import DocumentInput
from vecsec_client.splitting import markdown, plain_text
from vecsec_client.splitting.packing import DEFAULT_OVERLAP, DEFAULT_SIZE, Lengths, Passage, passages
from vecsec_client.values import Scalar

_BETWEEN = " > "
_LONGEST_CONTEXT = 400


def in_context(passage: Passage, title: str = "") -> tuple[str, str]:
    """A passage's text below a line of title and headings, with which it is embedded; its headings by themselves."""
    headings = _BETWEEN.join(passage.headings)
    first_line = passage.body.partition("\n")[0].lstrip("# \t")
    names = [title] if title and title not in {first_line, *passage.headings[:1]} else []
    context = " ".join(_BETWEEN.join([*names, *passage.headings]).split())
    if len(context) > _LONGEST_CONTEXT:
        context = "…" + context[-_LONGEST_CONTEXT:]
    return (f"{context}\n\n{passage.body}" if context else passage.body), headings


def split_documents(
    documents: Iterable[DocumentInput],
    *,
    size: int = DEFAULT_SIZE,
    overlap: int = DEFAULT_OVERLAP,
    markup: Literal["markdown", "text"] = "text",
) -> Iterator[DocumentInput]:
    """Documents whose texts are longer than a passage as several, for `import_documents`; the others as they are.

    The passages of document `a` are `a#1`, `a#2`, … with its label and its metadata, and with `part_of`, `passage` and
    `headings` beside them. What an earlier import stored of the same document and this one has no more, such as `a`
    itself or `a#9`, stays until you delete it. Documents with an embedding are not split: it is that of the whole text.

    Args:
        documents: what to split; read no further ahead than a document.
        size: the longest passage, in characters.
        overlap: how many characters of one passage the next one repeats at most, where a section is cut.
        markup: how to read the texts: Markdown's code, tables and lists stay whole.

    Raises:
        ValueError: if `size` or `overlap` make no sense, or metadata say already where a passage stands.
    """
    lengths = Lengths(size, overlap)
    for document in documents:
        yield from split_document(document, lengths, markup)


def split_document(
    document: DocumentInput, lengths: Lengths, markup: Literal["markdown", "text"] = "text"
) -> list[DocumentInput]:
    """One document as `split_documents` splits it.

    Raises:
        ValueError: if its metadata say already where a passage stands.
    """
    if len(document.embedding) or len(document.text) <= lengths.size:
        return [document]
    blocks = (
        markdown.blocks(document.text, lengths.longest_whole)
        if markup == "markdown"
        else plain_text.blocks(document.text)
    )
    parts = list(passages(blocks, lengths))
    if len(parts) < 2:
        return [document]
    for key in ("part_of", "passage", "headings"):
        if key in document.metadata:
            raise ValueError(f"metadata.{key} says where a passage stands; give what the document says another name")
    title = document.metadata.get("title")
    return [
        _passage(document, part, index, title if isinstance(title, str) else "")
        for index, part in enumerate(parts, start=1)
    ]


def _passage(document: DocumentInput, part: Passage, index: int, title: str) -> DocumentInput:
    text, headings = in_context(part, title)
    where: dict[str, Scalar] = {"part_of": document.document_id, "passage": index}
    where |= {"headings": headings} if headings else {}
    return replace(
        document,
        document_id=f"{document.document_id}#{index}",
        text=text,
        metadata={**document.metadata, **where},
    )
