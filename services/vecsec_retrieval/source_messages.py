"""Sources on the wire: messages to values and back, nothing decided."""

from vecsec.type.v1 import document_pb2, source_pb2
from vecsec_chassis.rpc import wire
from vecsec_retrieval.model.sources import SourceMark, SourcePassage, SourceSummary


def passage_from_proto(message: document_pb2.DocumentInput) -> SourcePassage | None:
    """Of which source a new document is a passage."""
    if not message.HasField("source"):
        return None
    source = message.source
    return SourcePassage(SourceMark(source.source_id, source.version, source.title), source.position)


def fill_passage(message: document_pb2.SourcePassage, passage: SourcePassage) -> None:
    """Fill in of which source a document is a passage."""
    message.source_id, message.version, message.title = (
        passage.mark.source_id,
        passage.mark.version,
        passage.mark.title,
    )
    message.position = passage.position


def source_message(source: SourceSummary) -> source_pb2.Source:
    """A source as it is listed."""
    return source_pb2.Source(
        source_id=source.mark.source_id,
        version=source.mark.version,
        title=source.mark.title,
        document_count=source.document_count,
        labels=map(wire.label_message, source.labels),
    )
