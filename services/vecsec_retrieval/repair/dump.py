"""`python -m vecsec_retrieval.repair.dump --path DIR|--url URL --collection NAME` writes a collection as JSON lines.

Each line is `{"id", "text", "metadata", "embedding"}`. On failure the last line of standard error says why, and the
status is 1. A server's API key is read from CHROMA_API_KEY.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vecsec_retrieval.stores.foreign_collections import ForeignRow, UnreadableCollection, read_directory, read_server

EXIT_UNREADABLE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the collection to standard output and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        for row in _rows(options):
            sys.stdout.write(_line(row))
        sys.stdout.flush()
    except UnreadableCollection as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNREADABLE
    except BrokenPipeError:
        return EXIT_UNREADABLE  # whoever reads us has seen enough
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vecsec_retrieval.repair.dump", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", type=Path, help="a directory of an embedded ChromaDB")
    source.add_argument("--url", help="a Chroma server, such as http://localhost:8000")
    parser.add_argument("--collection", required=True, help="the collection's name")
    return parser


def _rows(options: argparse.Namespace) -> Iterator[ForeignRow]:
    if options.path is not None:
        return read_directory(options.path, options.collection)
    return read_server(options.url, options.collection, api_key=os.environ.get("CHROMA_API_KEY"))


def _line(row: ForeignRow) -> str:
    fields = {"id": row.row_id, "text": row.text, "metadata": row.metadata, "embedding": row.embedding}
    return json.dumps(fields, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
