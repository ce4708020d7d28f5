"""From LlamaIndex's nodes to rows and back.

A row has LlamaIndex's own layout: metadata flat, for filters, and the node itself as JSON. So what filters cannot ask
for (lists, nulls, keys with blanks) comes back as well.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import BaseNode, IndexNode, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from vecsec_client import Document, DocumentInput, ScoredDocument, SearchAnswer
from vecsec_client.frameworks.collection import made_up_reason
from vecsec_client.frameworks.labels import Label, Labelling
from vecsec_client.frameworks.values import MADE_UP_KEY, in_parts, is_part, joined, refuse_unkeepable, scalars

REF_DOC_KEY = "ref_doc_id"
"""The metadata key under which a row has the document that its node comes from; doc_id and document_id say the same."""

_CONTENT_KEY = "llama_index.node_content"
_TYPE_KEY = "llama_index.node_type"
"""As LlamaIndex's own keys, whose first character VecSec's keys do not have."""
_SOURCE_KEYS = frozenset({REF_DOC_KEY, "doc_id", "document_id"})
_CLASSES: Mapping[str, type[TextNode]] = {"TextNode": TextNode, "IndexNode": IndexNode}
"""Those that are text and nothing else: one of another kind names files and addresses, which its reader would open."""

_logger = logging.getLogger(__name__)


def inputs(nodes: Sequence[BaseNode], labelling: Labelling, *, with_embeddings: bool) -> list[DocumentInput]:
    """What is stored of these nodes.

    Raises:
        ValueError: naming the node and what of it cannot be kept.
    """
    made = []
    for node in nodes:
        if not isinstance(node, BaseNode):
            raise ValueError(f"nodes: must be nodes, not {type(node).__name__}")
        try:
            made.append(_input(node, labelling, with_embeddings=with_embeddings))
        except ValueError as error:
            raise ValueError(f"node {node.node_id!r}: {error}") from error
    return made


def node_of(row: Document, labelling: Labelling) -> TextNode:
    """A row as the node that it was; one that was stored by others as a text node."""
    told = labelling.tell(row)
    node = _stored_node(row, labelling)
    if node is None:
        plain = {key: value for key, value in told.items() if not _is_ours(key)}
        return TextNode(id_=row.document_id, text=row.text, metadata=plain)
    names = labelling.keys.names()
    # What the JSON says of a label is anybody's word, the row's own label is not.
    metadata = {key: value for key, value in node.metadata.items() if key not in names}
    node.metadata = metadata | {key: told[key] for key in names if key in told}
    node.id_, node.text = row.document_id, row.text
    return node


def nodes_found(answer: SearchAnswer, labelling: Labelling) -> list[TextNode]:
    """The nodes of an answer; made-up ones say so in their metadata."""
    return [_found(row, answer, labelling) for row in answer.results]


def _found(row: ScoredDocument, answer: SearchAnswer, labelling: Labelling) -> TextNode:
    node = node_of(row, labelling)
    if not answer.is_real:
        node.metadata[MADE_UP_KEY] = made_up_reason(answer)
    return node


def _input(node: BaseNode, labelling: Labelling, *, with_embeddings: bool) -> DocumentInput:
    if not isinstance(node, TextNode) or node.class_name() not in _CLASSES:
        raise ValueError(
            f"a {node.class_name()} cannot be kept, only {' and '.join(_CLASSES)}; split documents into nodes "
            "(SentenceSplitter), and keep images elsewhere"
        )
    if isinstance(node, IndexNode) and node.obj is not None:
        raise ValueError(
            "the object of an IndexNode cannot be kept; keep it in the application (object_map), by index_id"
        )
    if with_embeddings and not node.embedding:
        raise ValueError(
            "no embedding; embed the nodes, or make the store without embeds_here for the services to do it"
        )
    label, rest = labelling.take(node.metadata)
    refuse_unkeepable(rest)
    return DocumentInput(
        document_id=node.node_id,
        text=node.text,
        sensitivity=label.sensitivity,
        topics=label.topics,
        readers=label.readers,
        attributes=label.attributes,
        metadata=_layout(node, rest, label, labelling),
        embedding=(node.embedding or ()) if with_embeddings else (),
    )


def _layout(node: TextNode, metadata: dict[str, Any], label: Label, labelling: Labelling) -> dict[str, Any]:
    relationships = {kind: _told(related, label, labelling) for kind, related in node.relationships.items()}
    kept = node.model_copy(update={"metadata": metadata, "relationships": relationships})
    layout = node_to_metadata_dict(kept, remove_text=True)
    ours = {_TYPE_KEY: layout.pop("_node_type"), **in_parts(_CONTENT_KEY, layout.pop("_node_content"))}
    without = _SOURCE_KEYS if node.ref_doc_id is None else frozenset[str]()  # LlamaIndex writes the text "None"
    flat = {key: value for key, value in scalars(layout).items() if key not in without and not _is_ours(key)}
    return flat | ours


def _is_ours(key: str) -> bool:
    return key == _TYPE_KEY or is_part(key, _CONTENT_KEY)


def _told(
    related: RelatedNodeInfo | list[RelatedNodeInfo], label: Label, labelling: Labelling
) -> RelatedNodeInfo | list[RelatedNodeInfo]:
    """A neighbour as this row may name it: metadata and hash of one with another label are not for its readers."""
    if isinstance(related, list):
        return [each for one in related if isinstance(each := _told(one, label, labelling), RelatedNodeInfo)]
    try:
        theirs, rest = labelling.take(related.metadata)
        refuse_unkeepable(rest)
    except ValueError:
        theirs = None
    return related if theirs == label else RelatedNodeInfo(node_id=related.node_id, node_type=related.node_type)


def _stored_node(row: Document, labelling: Labelling) -> TextNode | None:
    content = joined(_CONTENT_KEY, row.metadata)
    of_class = _CLASSES.get(str(row.metadata.get(_TYPE_KEY)))
    if content is None or of_class is None:
        return None
    try:
        given = json.loads(content)
        return of_class.model_validate({**given, "obj": None} if of_class is IndexNode else given)
    except (TypeError, ValueError, RecursionError) as error:
        _logger.warning(
            "taken for plain text: row %r, whose %s is no node: %s", row.document_id, _CONTENT_KEY, type(error).__name__
        )
        return None
