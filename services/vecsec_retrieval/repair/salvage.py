"""`python -m vecsec_retrieval.repair.salvage DIRECTORY TENANT` writes what can be read of a damaged cell as JSON lines.

Each line is `{"collection_id", "embedding_model", "document"}`, the document as `vecsec import` takes it, with its
embedding where that can be read; the last one is `{"unreadable_rows", "untagged_rows"}`. Nothing in the directory is
changed. If nothing can be read, the last line of standard error says why, and the status is 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_chassis.domain.labels import AttributeValue
from vecsec_chassis.domain.readers import READERS
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.sources import is_of_caller, passage_of
from vecsec_retrieval.stores.broken_cells import BrokenCell, UnreadableCell
from vecsec_retrieval.visibility.tagging import from_stored

EXIT_UNREADABLE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the rows to standard output and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vecsec_retrieval.repair.salvage", description=__doc__)
    parser.add_argument("directory", type=Path, help="the damaged cell")
    parser.add_argument("tenant", help="whose cell it is; rows of others are left out")
    options = parser.parse_args(arguments)
    cell = BrokenCell(options.directory)
    untagged = 0
    try:
        for salvaged in cell.rows():
            if not is_collection_id(salvaged.collection_id):
                continue  # what the service notes for itself, such as the catalogue of labels, is no loss
            document = from_stored(salvaged.row, options.tenant)
            if document is None:
                untagged += 1
                continue
            _write(
                {
                    "collection_id": salvaged.collection_id,
                    "embedding_model": salvaged.embedding_model,
                    "document": _fields(document),
                }
            )
    except UnreadableCell as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNREADABLE
    _write({"unreadable_rows": cell.unreadable_rows, "untagged_rows": untagged})
    return 0


def _fields(document: Document) -> dict[str, object]:
    label = document.label
    assert label.sensitivity is not None, "documents have whole labels"
    passage = passage_of(document.metadata)
    attributes = {name: _attribute(value) for name, value in label.attributes}
    embedding = {} if document.embedding is None else {"embedding": document.embedding.tolist()}
    return {
        "id": document.document_id,
        "text": document.text,
        "sensitivity": label.sensitivity.name,
        "topics": sorted(label.topics),
        "attributes": {name: value for name, value in attributes.items() if name != READERS or isinstance(value, str)},
        **({READERS: attributes[READERS]} if isinstance(attributes.get(READERS), list) else {}),
        "metadata": {key: value for key, value in document.metadata.items() if is_of_caller(key)},
        **({} if passage is None else {"source": {**asdict(passage.mark), "position": passage.position}}),
        **embedding,
    }


def _attribute(value: AttributeValue) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _write(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
