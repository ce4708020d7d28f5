"""Documents as the passages of a source."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vecsec_client.results import DocumentInput
from vecsec_client.sources import SourcePassage


def as_source(
    source_id: str, passages: Iterable[DocumentInput], *, version: str = "", title: str = ""
) -> Iterator[DocumentInput]:
    """The passages of a source in their order, for an import with `whole_sources=True`.

    Args:
        source_id: unique within its tenant and collection, such as a path.
        passages: the documents; 1,000 and 4 MiB at most.
        version: such as a hash of the source's content.
        title: what to call the source.
    """
    for position, passage in enumerate(passages, 1):
        mark = SourcePassage(source_id=source_id, position=position, version=version, title=title)
        yield replace(passage, source=mark)
